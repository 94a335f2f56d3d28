"""Mistral's dialect, as far as it is not OpenAI's."""
