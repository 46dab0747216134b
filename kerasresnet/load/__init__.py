"""Trained networks, loaded again."""
