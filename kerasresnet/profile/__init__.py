"""How fast a network trains here, and what of that the machine could."""
