"""Train the mapper: latents, tasks, optimizer, loop, checkpoints."""
