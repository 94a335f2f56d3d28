"""Text to token ids and back, and chats to text; from local files only, no torch."""
