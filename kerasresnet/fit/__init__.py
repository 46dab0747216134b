"""Training: the command, its flags, its plan, the epochs of a run."""
