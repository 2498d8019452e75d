#!/usr/bin/env bash
# Adds the training extra with a CPU build of PyTorch. Where pip's indexes offer none it installs nothing and says how
# to get one; the tests that need torch then skip. The requirement names the CPU build by its local version (+cpu):
# without it, pip would fetch the CUDA build, gigabytes of it, from an index that has no other.
# usage: train_env.sh VENV TORCH_REQUIREMENT TORCH_INDEX
set -euo pipefail
venv=$1 torch=$2 index=$3
options=(-qq --no-build-isolation)
[[ -z $index ]] || options+=(--extra-index-url "$index")

log=$(mktemp)
trap 'rm -f "$log"' EXIT
# setuptools: PyTorch would raise it past what colcon's symlink installs bear.
if ! "$venv/bin/python" -m pip install "${options[@]}" "$torch" 'setuptools<80' '.[train,bench]' 2> "$log"; then
    cat "$log" >&2
    grep -Eq "(No matching distribution found for|Cannot install) ${torch//+/[+]}" "$log" || exit 1
    echo "pip finds no $torch, so training and its tests are left out." >&2
    echo "For them: make env-train TORCH_INDEX=<the URL of PyTorch's CPU wheel index>" >&2
    exit 0
fi

# TensorRT for RTX builds engines without a GPU, as some tests do; they skip where its wheels are not to be had.
"$venv/bin/python" -m pip install -qq --only-binary=:all: tensorrt-rtx-cu13-libs tensorrt-rtx-cu13-bindings 2> "$log" \
    || echo "pip finds no wheels of TensorRT for RTX, so the tests that build engines with it are left out."

# Labelling at scale and robustness; the corruptions without what they ask for, see setup.py.
if "$venv/bin/python" -m pip install -qq --no-build-isolation 'setuptools<80' '.[scale,robustness]' 2> "$log"; then
    "$venv/bin/python" -m pip install -qq --no-deps 'imagecorruptions-imaug>=1.1.5' 2> "$log" \
        || echo "pip finds no imagecorruptions-imaug, so the tests of corruptions are left out."
else
    echo "pip finds no Ray, pyarrow or scikit-image for this Python, so the tests that need them are left out."
fi

# Figures of tracks, without what it asks for, see setup.py.
"$venv/bin/python" -m pip install -qq --no-deps 'trackeval>=1.3' 2> "$log" \
    || echo "pip finds no trackeval, so the tests of figures of tracks are left out."
touch "$venv/.train"
