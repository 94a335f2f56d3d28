"""From a reply's text to what it says: content, reasoning, and calls of tools; knows no dialect and no model names."""
