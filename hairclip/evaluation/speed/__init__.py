"""How fast training and editing are, against a plain formulation of the official training step, in one run."""
