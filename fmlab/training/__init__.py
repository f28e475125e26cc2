"""Training the weights of a backbone: images in batches, the loop, checkpoints."""
