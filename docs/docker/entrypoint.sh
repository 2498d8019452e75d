#!/bin/bash
# Runs a command with ROS 2 and the workspace set up.
set -e
source "/opt/ros/$ROS_DISTRO/setup.bash"
source /ws/install/setup.bash
exec "$@"
