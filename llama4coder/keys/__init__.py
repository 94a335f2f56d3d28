"""API keys: who may ask for what, and how much of it. Pure but for `key_file`."""
