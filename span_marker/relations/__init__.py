"""Relations between entities: the relation head of a model, and the scores of pairs."""
