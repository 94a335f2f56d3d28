"""Outputs held to a grammar: which tokens may come next; llguidance does the parsing. Knows no torch."""
