"""The command `gaussian-yolo`: one file per command, named like it; each parses and prints."""
