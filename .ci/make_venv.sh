#!/usr/bin/env bash
# Makes an empty virtual environment with pip, also with a Python whose ensurepip a distribution has taken out.
# usage: make_venv.sh PYTHON VENV
set -euo pipefail
python=$1 venv=$2

rm -rf "$venv"
if "$python" -c 'import ensurepip' 2>/dev/null; then
    "$python" -m venv "$venv"
else
    "$python" -m venv --without-pip "$venv"
    site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
    "$python" -m pip install -qq --target "$site" pip
fi
# setuptools 80 dropped the options that colcon's symlink installs use.
"$venv/bin/python" -m pip install -qq 'setuptools>=59.6,<80' wheel
