#!/usr/bin/env bash
# Adds the training extra with a CPU build of PyTorch. Where only a CUDA build (gigabytes) is on offer it installs
# neither and says how to get the CPU one; the tests that need torch then skip.
# usage: train_env.sh VENV TORCH_REQUIREMENT TORCH_INDEX
set -euo pipefail
venv=$1 torch=$2 index=$3
pip=("$venv/bin/python" -m pip)
options=(-qq)
[[ -z $index ]] || options+=(--extra-index-url "$index")

report=$(mktemp)
trap 'rm -f "$report"' EXIT
"${pip[@]}" install "${options[@]}" --dry-run --ignore-installed --report "$report" "$torch"
version=$("$venv/bin/python" - "$report" <<'P'
import json
import sys

packages = {item["metadata"]["name"].lower(): item["metadata"] for item in json.load(open(sys.argv[1]))["install"]}
gpu = [name for name in packages if name.startswith(("nvidia-", "cuda-", "triton"))]
print("" if gpu else packages["torch"]["version"])
P
)
if [[ -z $version ]]; then
    echo "pip would install a CUDA build of $torch (gigabytes); training and its tests are left out." >&2
    echo "For them: make env-train TORCH_INDEX=<the URL of PyTorch's CPU wheel index>" >&2
    exit 0
fi
"${pip[@]}" install "${options[@]}" --no-build-isolation "torch==$version" 'setuptools<80' '.[train]'
touch "$venv/.train"
