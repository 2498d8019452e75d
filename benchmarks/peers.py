#!/usr/bin/env python3
"""Frames per second from pixels to detections: this package, Ultralytics, OpenCV's DNN module, plain ONNX Runtime.

    pip install '.[cpu,bench]'
    python benchmarks/peers.py --frames FOLDER --peer-model yolox_nano.onnx --report docs   # docs/peers.{md,png,json}

All take the same frames on the same canvas, one frame in turn and round by round, so that a machine of varying speed
affects all alike. ONNX Runtime and OpenCV run the same network as this package, and the YOLOX network of --peer-model,
both with decoding in numpy as a user would write it. The peers are installed into `.cache/peers` and run in processes
of their own. Ultralytics needs the CPU build of torch, as training does; without it, the other peers are timed alone.
Its weights are those in `.cache/peers/weights`, else downloaded, else random.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import Annotated, Any, Protocol

import numpy as np
import typer
from peers_report import write_report
from rich.console import Console
from rich.progress import track

from gaussian_yolo_node.detector.detector import Detector
from gaussian_yolo_node.detector.model import DEFAULT_MODEL
from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.files import write_whole
from gaussian_yolo_node.frames.files import list_images
from gaussian_yolo_node.labels.images import read_image
from gaussian_yolo_node.processes import run_until_signal, start_child
from gaussian_yolo_node.runtime import Precision, RuntimeOptions
from gaussian_yolo_node.runtime.base import parse_size
from gaussian_yolo_node.runtime.machine import machine

REPOSITORY = Path(__file__).resolve().parents[1]
WORKER = Path(__file__).with_name("peers_worker.py")
ENVIRONMENT = REPOSITORY / ".cache" / "peers" / "venv"
BASE = ("numpy", "onnx", "onnxruntime", "opencv-python-headless")
# The build of torch in the same call, or pip would fetch the CUDA build, gigabytes of it.
TORCH = "torch==2.13.0+cpu"
ULTRALYTICS = "ultralytics-opencv-headless"
ULTRALYTICS_MODELS = ("yolo11n", "yolov8n", "yolov8m")
Size = tuple[int, int]
Reading = tuple[float, int]  # ms from pixels to detections, number of detections


class PeersError(GaussianYoloError):
    """The peers cannot be installed, or one of them fails."""


class Contestant(Protocol):
    """A detector to time; `network` and `description` say what runs."""

    name: str
    network: str
    description: str

    def __call__(self, frame: Path) -> Reading: ...


class Ours:
    """This package's detector, in this process, with all stages."""

    name = "gaussian_yolo"

    def __init__(self, model: str, canvas: Size, precision: Precision) -> None:
        options = RuntimeOptions(precision=precision, input_size=canvas)
        self.detector = Detector.open(model, "openvino", options=options)
        self.network = self.detector.card.name
        self.description = self.detector.runtime.description

    def __call__(self, frame: Path) -> Reading:
        pixels = read_image(frame)
        self.detector(pixels)  # what another detector left in the caches is gone
        started = perf_counter()
        found = self.detector(pixels)
        return (perf_counter() - started) * 1e3, len(found)

    def close(self) -> None:
        self.detector.close()


class Peer:
    """A peer in a process of its own; `peers_worker.py` describes the protocol.

    Args:
        name, network: for the report.
        command: starts the process.
        request: opens the peer.

    Raises:
        PeersError: the peer cannot be opened, or ends.
    """

    def __init__(self, name: str, network: str, command: Sequence[str | Path], request: dict[str, Any]) -> None:
        self.name, self.network = name, network
        weights = ENVIRONMENT.with_name("weights")
        weights.mkdir(parents=True, exist_ok=True)
        quiet = {"YOLO_CONFIG_DIR": str(weights.parent), "YOLO_VERBOSE": "false", "YOLO_AUTOINSTALL": "false"}
        self._process = start_child(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=weights, env=os.environ | quiet
        )
        try:
            self.description: str = self._ask(request)["description"]
        except BaseException:
            self.close()
            raise

    def __call__(self, frame: Path) -> Reading:
        answer = self._ask({"frame": str(frame.resolve())})
        return answer["ms"], answer["detections"]

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            print(json.dumps(request), file=self._process.stdin, flush=True)
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise PeersError(f"{self.name} {self.network} ended with exit code {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise PeersError(f"{self.name} {self.network} fails: {answer['error']}")
        return answer

    def close(self) -> None:
        self._process.communicate()  # closes the pipes; the end of its input ends the peer

    def __enter__(self) -> Peer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def main(
    frames: Annotated[Path, typer.Option(help="Folder of images.")],
    peer_model: Annotated[
        Path | None, typer.Option(help="ONNX file of a YOLOX network, for OpenCV and ONNX Runtime.")
    ] = None,
    model: Annotated[str, typer.Option(help="Name or path of this package's model.")] = DEFAULT_MODEL,
    canvas: Annotated[str, typer.Option(metavar="HxW", help="Canvas of all networks, px.")] = "384x1248",
    rounds: Annotated[int, typer.Option(min=1, help="Frames timed with each detector.")] = 20,
    report: Annotated[Path, typer.Option(help="Folder to write peers.md, peers.png and peers.json to.")] = Path("out"),
    torch_index: Annotated[str, typer.Option(help="URL of PyTorch's CPU wheel index, if pip needs it.")] = "",
) -> None:
    """Compare this package's speed with that of other detectors on the CPU."""
    try:
        size = parse_size(canvas, "--canvas")
        images = list_images(frames)
        if peer_model is not None and not peer_model.is_file():
            raise PeersError(f"--peer-model {peer_model} does not exist; give the ONNX file of a YOLOX network")
        with ExitStack() as stack:
            contestants, left_out = open_all(stack, model, peer_model, size, torch_index)
            document = measure(contestants, images, rounds)
    except GaussianYoloError as error:
        sys.exit(f"error: {error}")
    document |= {"canvas": list(size), "left_out": left_out}
    write_whole(report / "peers.json", json.dumps(document, indent=1) + "\n")
    write_report(document, report)
    print((report / "peers.md").read_text(encoding="utf-8"))


def open_all(
    stack: ExitStack, model: str, peer_model: Path | None, canvas: Size, torch_index: str
) -> tuple[list[Contestant], list[str]]:
    """This package's detector first, then the peers; and one sentence for each peer that does not run here."""
    ours = Ours(model, canvas, "auto")
    stack.callback(ours.close)
    contestants: list[Contestant] = [ours]
    in_fp32 = Ours(model, canvas, "fp32")  # as all peers compute
    stack.callback(in_fp32.close)
    if in_fp32.description != ours.description:
        contestants.append(in_fp32)

    left_out = install(ENVIRONMENT, torch_index)
    card = asdict(ours.detector.card)
    threads = len(os.sched_getaffinity(0))
    requests: list[tuple[str, str, dict[str, Any]]] = []
    for kind, title in (("onnxruntime", "ONNX Runtime"), ("opencv", "OpenCV")):
        requests.append((title, ours.network, {"peer": kind, "model": str(ours.detector.model_path), "card": card}))
        if peer_model is not None:
            requests.append((title, peer_model.stem, {"peer": kind, "model": str(peer_model.resolve()), "card": None}))
    if not left_out:
        requests += [
            ("Ultralytics", name, {"peer": "ultralytics", "model": name, "threads": count})
            for name in ULTRALYTICS_MODELS
            for count in ((None, threads) if threads > 1 else (None,))
        ]
    command: list[str | Path] = [ENVIRONMENT / "bin" / "python", "-I", WORKER]
    for title, network, request in requests:
        try:
            contestants.append(stack.enter_context(Peer(title, network, command, request | {"canvas": canvas})))
        except PeersError as error:
            left_out.append(str(error))
            print(error, file=sys.stderr)
    return contestants, left_out


def install(folder: Path, torch_index: str) -> list[str]:
    """Install the peers into a virtual environment; what is there already stays.

    Returns:
        One sentence if Ultralytics cannot be installed.

    Raises:
        PeersError: the other peers cannot be installed either.
    """
    # Isolated: a PYTHONPATH, as that of ROS, would lend the peers the packages of another environment.
    pip: list[str | Path] = [folder / "bin" / "python", "-I", "-m", "pip", "install", "-qq"]
    steps: list[list[str | Path]] = [[*pip, *BASE]]
    if not (folder / "ready").exists():
        steps.insert(0, [REPOSITORY / ".ci" / "make_venv.sh", sys.executable, folder])
    for step in steps:
        if subprocess.run(step).returncode:
            raise PeersError(f"the peers cannot be installed; read pip's message above, delete {folder} and try again")
    (folder / "ready").touch()
    index = ["--extra-index-url", torch_index] if torch_index else []
    if subprocess.run([*pip, *index, TORCH, ULTRALYTICS]).returncode:
        return [f"Ultralytics: pip cannot install {TORCH} and {ULTRALYTICS}; give --torch-index"]
    return []


def measure(contestants: Sequence[Contestant], images: Sequence[Path], rounds: int) -> dict[str, Any]:
    """Time all contestants in turn, one frame per round; the frames are spread evenly over the images."""
    load = os.getloadavg()[0]
    readings: list[list[Reading]] = [[] for _ in contestants]
    chosen = [images[index] for index in np.linspace(0, len(images) - 1, rounds).round().astype(int)]
    for frame in track(chosen, "rounds", console=Console(stderr=True), transient=True):
        for contestant, of_one in zip(contestants, readings, strict=True):
            of_one.append(contestant(frame))
    rows = [
        {
            "name": each.name,
            "network": each.network,
            "description": each.description,
            "ms": [round(ms, 2) for ms, _ in of_one],
            "detections": [count for _, count in of_one],
        }
        for each, of_one in zip(contestants, readings, strict=True)
    ]
    height, width = read_image(chosen[0]).shape[:2]
    return {"frame": [height, width], "processor": machine(), "load": round(load, 1), "rows": rows}


if __name__ == "__main__":
    run_until_signal(lambda: typer.run(main))
