"""How many replicas there should be: pure decisions, whose state goes in and comes out. No clock, no I/O."""
