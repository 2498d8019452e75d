"""Lower bounds of the time per stage on a Jetson, from data sizes and the boards' peak rates; nothing is measured.

    python benchmarks/latency_budget.py csp_nano_driving --frame 720x1280

A stage takes at least its bytes divided by the memory bandwidth, and at least its multiply-accumulates divided by the
rate of the tensor cores. docs/jetson.md has the tables of the shipped models and the limits of this estimate.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from gaussian_yolo_node.detector.model import DEFAULT_MODEL, ModelCard, read_card, resolve_model
from gaussian_yolo_node.lab.complexity import feature_values, onnx_complexity
from gaussian_yolo_node.runtime.base import parse_size

MACS_PER_CYCLE = {"fp16": 1024, "int8": 2048}  # dense, of the tensor cores of one SM of Orin's GPU
BYTES = {"fp16": 2, "int8": 1}  # per feature-map value
ROWS = 300  # detections copied back, 4 + 1 + 1 + 4 values of 4 bytes each


@dataclass(frozen=True)
class Board:
    """Data sheet of a module.

    Attributes:
        name: of the module.
        sms: streaming multiprocessors of its GPU.
        clock: maximum GPU clock, GHz.
        bandwidth: of the memory shared by GPU and CPU, GB/s.
    """

    name: str
    sms: int
    clock: float
    bandwidth: float


BOARDS = (
    Board("Orin Nano 8GB, 15 W", 8, 0.625, 68.3),
    Board("Orin Nano 8GB Super, 25 W", 8, 1.02, 102.4),
    Board("Orin NX 16GB", 8, 0.918, 102.4),
    Board("AGX Orin 64GB", 16, 1.3, 204.8),
)


@dataclass(frozen=True)
class Work:
    """The work per frame.

    Attributes:
        upload: bytes moved to copy the frame: read and written by the CPU, read and written by the GPU.
        letterbox: bytes of the frame read and of the canvas written.
        network: bytes of feature maps read and written by convolutions, and of weights.
        macs: multiply-accumulates of the network.
        heads: bytes of raw heads, written by the network and read by the decoder.
        precision: of the network.
    """

    upload: int
    letterbox: int
    network: int
    macs: int
    heads: int
    precision: str

    def milliseconds(self, board: Board) -> dict[str, float]:
        """Lower bound of each stage on a board, ms."""
        rate = board.sms * board.clock * 1e9 * MACS_PER_CYCLE[self.precision]
        gigabyte_ms = 1e3 / (board.bandwidth * 1e9)
        return {
            "upload": self.upload * gigabyte_ms,
            "letterbox": self.letterbox * gigabyte_ms,
            "network": max(self.network * gigabyte_ms, self.macs / rate * 1e3),
            "heads": self.heads * gigabyte_ms,
        }


def work_of(path: Path, frame: tuple[int, int], precision: str) -> Work:
    """The work of one frame (height, width) with a model file."""
    cost = onnx_complexity(path)
    card = _card(path)
    pixels = card.input_size[0] * card.input_size[1]
    image = frame[0] * frame[1] * 3
    channels = len(card.anchors[0]) * (9 + len(card.classes))
    return Work(
        upload=4 * image,
        letterbox=image + 3 * pixels,
        network=(feature_values(path) + cost.parameters) * BYTES[precision],
        macs=cost.macs,
        heads=2 * sum(channels * pixels // stride**2 for stride in card.strides) * 4,  # always float
        precision=precision,
    )


def main(
    model: Annotated[str, typer.Argument(help="Name of a shipped model, or path of an ONNX file.")] = DEFAULT_MODEL,
    frame: Annotated[str, typer.Option(metavar="HxW", help="Size of the camera's frames, px.")] = "720x1280",
) -> None:
    """Print a Markdown table of the lower bounds per stage, ms."""
    path = resolve_model(model)
    stages = ("upload", "letterbox", "network", "heads")
    for precision in BYTES:
        work = work_of(path, parse_size(frame), precision)
        print(
            f"{path.stem} in {precision}, frames of {frame} px: {work.macs / 1e9:.2f} GMAC, "
            f"{work.network / 1e6:.0f} MB through the network"
        )
        print(f"\n| board | {' | '.join(stages)} | sum | at 60 % |\n|---|{'---|' * (len(stages) + 2)}")
        for board in BOARDS:
            times = work.milliseconds(board)
            total = sum(times.values())
            cells = [f"{value:.2f}" for value in (*times.values(), total, total / 0.6)]
            print(f"| {board.name} | {' | '.join(cells)} |")
        print()


def _card(path: Path) -> ModelCard:
    import onnx

    return read_card({entry.key: entry.value for entry in onnx.load(str(path)).metadata_props}, path)


if __name__ == "__main__":
    typer.run(main)
