"""The ROS 2 face of the detector: a lifecycle node, its parameters, messages and diagnostics."""
