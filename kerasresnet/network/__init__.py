"""What a network is, what it costs, and the Keras model of it."""
