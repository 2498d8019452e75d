"""Data, augmentation, target assignment, loss and the training loop. Needs the `train` extra."""
