"""OpenAI's Responses dialect, without a memory: every request holds the whole conversation."""
