"""Which learning rate a recipe could take: the range test."""
