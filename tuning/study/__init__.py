"""One-factor experiments."""
