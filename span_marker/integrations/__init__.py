"""Where models are used: pipelines, spaCy, Inference Endpoints."""
