"""Model folders: finding them, and making the embedded one from its GGUF file."""
