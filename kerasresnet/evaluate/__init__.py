"""What a trained network is worth: metrics on the test set."""
