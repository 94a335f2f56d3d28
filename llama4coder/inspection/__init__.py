"""What a model is, and whether it would be served: from headers and settings, without its weights."""
