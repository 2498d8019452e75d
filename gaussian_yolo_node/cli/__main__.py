"""`python -m gaussian_yolo_node.cli`, as torchrun starts it."""

from gaussian_yolo_node.cli.gaussian_yolo import main

main()
