"""Training the mapper: latents and tasks, the optimiser, the loop, checkpoints."""
