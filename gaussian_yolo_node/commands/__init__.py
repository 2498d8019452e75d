"""The command `gaussian-yolo`: one file per command, with the command's name; each parses arguments and prints."""
