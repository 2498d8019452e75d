#!/usr/bin/env bash
# Builds one ROS 2 interface package into a virtual environment that ros_env.sh prepared.
# usage: build_interfaces.sh VENV PACKAGE_DIR
set -euo pipefail
venv=$1 package=$2
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT

export PATH="$venv/bin:$PATH" AMENT_PREFIX_PATH="$venv" CMAKE_PREFIX_PATH="$venv"
unset PYTHONPATH
if ! { cmake -S "$package" -B "$build" -G 'Unix Makefiles' -DCMAKE_INSTALL_PREFIX="$venv" -DCMAKE_BUILD_TYPE=Release \
           -DBUILD_TESTING=OFF -DPython3_EXECUTABLE="$venv/bin/python" \
       && cmake --build "$build" --parallel "$(nproc)" --target install; } > "$venv/interfaces.log" 2>&1; then
    tail -n 40 "$venv/interfaces.log" >&2
    echo "building $package failed; the whole log is in $venv/interfaces.log" >&2
    exit 1
fi
