from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
from factories import PLANTED, make_image

pytest.importorskip("aiohttp", reason="aiohttp is not installed (extra 'view')")

from commands.conftest import Run
from view.viewer import Viewer, watch

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for index in range(3):
        cv2.imwrite(str(folder / f"{index:06d}.png"), make_image(128, 192, seed=index))
    return folder


@pytest.fixture
def viewing(folder: Path, tiny_model: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "gaussian_yolo_node.commands", "view", str(folder)),
            *("--model", str(tiny_model), "--port", "0", "--rate", "20"),
        ],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    yield process
    process.kill()
    process.communicate()


def test_frames_come_until_it_is_interrupted(viewing: subprocess.Popen[str], folder: Path) -> None:
    assert viewing.stdout is not None
    address = viewing.stdout.readline().removeprefix("live view: ").strip()
    assert address.startswith("http://127.0.0.1:")

    async def work(viewer: Viewer) -> None:
        names, ids = set(), set()
        while len(names) < 3:  # more frames than the folder has: it is played again
            frame, picture = await viewer.next_frame()
            names.add(frame["frame"])
            assert (frame["camera"], frame["size"]) == (str(folder), [192, 128])
            assert [item["label"] for item in frame["objects"]] == ["car", "pedestrian"]
            assert len(frame["objects"]) == len(PLANTED)
            ids |= {item["id"] for item in frame["objects"] if "id" in item}
            image = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)
            assert image is not None and image.shape == (128, 192, 3)
        assert names == {"000000.png", "000001.png", "000002.png"}
        if find_spec("scipy"):
            while not ids:
                frame, _ = await viewer.next_frame()
                ids |= {item["id"] for item in frame["objects"] if "id" in item}
            assert ids <= {1, 2}
        report = await viewer.next_report()
        assert report["level"] == 0 and report["message"].startswith("tiny on ")
        assert report["canvas"] == "64x96" and report["rate_hz"] > 0 and report["frame_age_p50_ms"] > 0
        assert report["frames_received"] > 0 and report["frames_dropped"] == 0

    watch(address, work)
    viewing.send_signal(signal.SIGINT)
    _, errors = viewing.communicate(timeout=10)
    assert (viewing.returncode, errors) == (130, "interrupted\n")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "no_such_model"),
        (("--port", "{taken}"), "Address already in use; choose another port or host"),
        (("--host", "no.such.host.invalid"), "cannot listen on no.such.host.invalid"),
    ],
)
def test_what_is_wrong_is_named(run: Run, folder: Path, options: tuple[str, ...], message: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        given = [option.format(taken=port) for option in options]
        if "--port" not in given:
            given += ["--port", "0"]
        code, _, errors = run("view", folder, "--model", "no_such_model", *given)
    assert code == 2 and errors.startswith("error: ") and message in errors


def test_a_source_without_a_frame(run: Run, tmp_path: Path, tiny_model: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    code, _, errors = run("view", tmp_path, "--model", tiny_model, "--port", 0)
    assert code == 2 and "not one frame of the source could be read" in errors
