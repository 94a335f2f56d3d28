"""Speculation: guess the next tokens cheaply, and let the target check several of them in one step."""
