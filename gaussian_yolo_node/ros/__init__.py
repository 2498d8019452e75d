"""The ROS 2 interface of the detector: a lifecycle node, its parameters, messages and diagnostics."""
