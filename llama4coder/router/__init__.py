"""Which replica a request goes to: pure decisions over what replicas have reported and what was sent since."""
