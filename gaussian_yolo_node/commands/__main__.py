"""`python -m gaussian_yolo_node.commands`, as torchrun starts it."""

from gaussian_yolo_node.commands.gaussian_yolo import main

main()
