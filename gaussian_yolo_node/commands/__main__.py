"""`python -m gaussian_yolo_node.commands`, the form that torchrun needs."""

from gaussian_yolo_node.commands.gaussian_yolo import main

main()
