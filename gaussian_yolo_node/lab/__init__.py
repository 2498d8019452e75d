"""Make and test models: networks, training, export. Needs torch, except for building engines."""
