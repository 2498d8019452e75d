"""Perception node processes, as the ROS tests start them."""

from ros.conftest import start_node

__all__ = ["start_node"]
