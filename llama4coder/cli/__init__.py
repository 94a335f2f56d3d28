"""What a user types: the commands that need no cluster."""
