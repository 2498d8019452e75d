"""The command `robustness`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gaussian_yolo_node.errors import SettingError


def robustness(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name of a shipped model, or an ONNX file.")],
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Folder of images with labels.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the results.")],
    labels: Annotated[Path | None, typer.Option(help="Their labels.", show_default="label_2 beside")] = None,
    corruptions: Annotated[
        str, typer.Option(metavar="NAME,..", help="Corruptions or groups, with commas.", show_default="all 15")
    ] = "",
    severities: Annotated[str, typer.Option(metavar="N,..", help="Of 1 to 5, with commas.")] = "1,2,3,4,5",
    limit: Annotated[int, typer.Option(min=0, help="Frames, evenly spaced; 0 takes all.")] = 0,
    workers: Annotated[int, typer.Option(min=0, help="Processes that corrupt; 0 is this one.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Of the corruptions.")] = 0,
    least_score: Annotated[float, typer.Option(min=0, max=1, help="Of boxes whose sigmas are looked at.")] = 0.3,
    runtime: Annotated[str, typer.Option(help="auto, openvino, onnxruntime or tensorrt.")] = "auto",
    threads: Annotated[int, typer.Option(min=0, help="Processor threads; 0 takes all cores.")] = 0,
) -> None:
    """AP and sigmas of a detector under ImageNet-C's 15 corruptions at 5 severities.

    Example: gaussian-yolo robustness efficientnet_lite0_kitti kitti/training --limit 20 -o out/robustness

    Run the same command again to go on with one that was interrupted.
    """
    from rich.console import Console

    from gaussian_yolo_node.detector.detector import Detector
    from gaussian_yolo_node.offline.corruption import report
    from gaussian_yolo_node.offline.corruption.corruptions import (
        CORRUPTIONS,
        check_corruptions,
        check_severities,
        load_library,
    )
    from gaussian_yolo_node.offline.corruption.frames import find_frames
    from gaussian_yolo_node.offline.robustness import RobustnessOptions, detector_robustness
    from gaussian_yolo_node.runtime import RuntimeOptions

    names = check_corruptions(_words(corruptions) or CORRUPTIONS)
    try:
        levels = check_severities([int(word) for word in _words(severities)])
    except ValueError:
        raise SettingError(f"--severities {severities!r} must be numbers with commas between, 1,3,5") from None
    load_library()
    find_frames(data, labels, limit)
    options = RobustnessOptions(names, levels, limit, seed, workers, least_score)
    with (
        Console(stderr=True).status("clean") as status,
        Detector.open(model, runtime, options=RuntimeOptions(threads)) as detector,
    ):
        result = detector_robustness(
            detector, data, output, options, labels=labels,
            on_frame=lambda name, done: status.update(f"{name}: {done} frames"),
        )  # fmt: skip
    Console().print(report.table(result))
    report.draw(result, output / "robustness.png")
    share = "" if result.rpc is None else f", {result.rpc:.1%} of clean"
    print(f"mPC at IoU 0.5: {result.mpc:.3f}{share}; written: {output}")


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())
