"""What makes models and tests them: networks, training, export. Needs torch, but for the export of engines."""
