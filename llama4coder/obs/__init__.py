"""What the deployment counts, and how the counts of several processes become one text; numbers only, never content."""
