"""What can be chosen, and the networks and recipes that it means."""
