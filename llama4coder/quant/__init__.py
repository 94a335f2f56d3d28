"""Weights of 8 and 4 bits: what the stored integers mean, and products with torch alone."""
