"""Training the mapper: latents and tasks, the optimizer, the loop, checkpoints."""
