"""The dialect of llama.cpp's own server."""
