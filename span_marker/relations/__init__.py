"""Relations between entities: the methods of a model for its relation head."""
