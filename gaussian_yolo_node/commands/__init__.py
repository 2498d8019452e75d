"""The command `gaussian-yolo`: a module a command, or a few that belong together; each parses and delegates."""

from gaussian_yolo_node.commands.gaussian_yolo import app, main

__all__ = ["app", "main"]
