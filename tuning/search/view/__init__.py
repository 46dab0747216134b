"""What a search has done, as people see it."""
