"""A network layer by layer, before anything is built."""
