"""The search for networks and recipes under a hard parameter limit."""
