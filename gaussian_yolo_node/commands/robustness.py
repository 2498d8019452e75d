"""The command `robustness`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from gaussian_yolo_node.commands import flags
from gaussian_yolo_node.errors import SettingError


def robustness(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="Detector: shipped name or ONNX file; or a training checkpoint (.pt) of either kind."
        ),
    ],
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            help="Detector: folder of images with labels; classifier: one folder per class, or ImageNet-C or "
            "ImageNet-P as published.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the results.")],
    labels: Annotated[Path | None, typer.Option(help="A detector's labels.", show_default="label_2 beside")] = None,
    corruptions: Annotated[
        str, typer.Option(metavar="NAME,..", help="Corruptions or groups, with commas, or none.", show_default="all 15")
    ] = "",
    severities: Annotated[str, typer.Option(metavar="N,..", help="Of 1 to 5, with commas.")] = "1,2,3,4,5",
    perturbations: Annotated[
        str,
        typer.Option(metavar="NAME,..", help="A classifier's sequences, with commas, or none.", show_default="all 10"),
    ] = "",
    baseline_flips: Annotated[
        Path | None, typer.Option(help="JSON of the flip probabilities that mFR divides by.", show_default="no mFR")
    ] = None,
    mask: Annotated[
        bool, typer.Option("--mask", help="Classifier: only DATA's classes can be the answer, as in ImageNet-A.")
    ] = False,
    attacks: Annotated[
        str, typer.Option(metavar="NAME,..", help="Of a checkpoint: fgsm, pgd.", show_default="none")
    ] = "",
    epsilons: Annotated[str, typer.Option(metavar="E,..", help="Of the attacks, of 255.")] = "0,1,2,4,8",
    limit: Annotated[int, typer.Option(min=0, help="Number of images, evenly spaced; 0 takes all.")] = 0,
    workers: Annotated[int, typer.Option(min=0, help="Processes that corrupt a detector's images; 0 is this one.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of all random numbers.")] = 0,
    least_score: Annotated[
        float, typer.Option(min=0, max=1, help="Minimum score of the boxes whose sigmas are evaluated.")
    ] = 0.3,
    runtime: flags.Runtime = "auto",
    threads: flags.Threads = 0,
) -> None:
    """Measure accuracy and sigmas under ImageNet-C's corruptions, perturbation sequences, FGSM and PGD.

    For a detector: AP and sigmas under corruption. For a detector's training checkpoint: the same under attacks, which
    need gradients. For a classifier's checkpoint: errors, mCE, flip probabilities, attacks; of ImageNet-C
    (GROUP/CORRUPTION/SEVERITY/CLASS/*.JPEG) errors and mCE, of ImageNet-P (GROUP/PERTURBATION/CLASS/*.mp4) flips, mFR.

    Example: gaussian-yolo robustness csp_nano_driving kitti/training --limit 20 -o out/robustness

    Run the same command again to resume after an interruption.
    """
    request = _Request(
        data, output, labels, flags.words(corruptions), flags.numbers("--severities", severities, int),
        flags.words(perturbations), flags.words(attacks), flags.numbers("--epsilons", epsilons), limit, seed,
        least_score,
    )  # fmt: skip
    if Path(model).suffix != ".pt" and not request.attacks:
        _corrupted_detector(model, request, workers, runtime, threads)
        return
    if Path(model).suffix != ".pt":
        if request.corruptions not in ((), ("none",)):
            raise SettingError("--corruptions and --attacks of a detector are two tests: give one of them")
        _attacked_detector(Path(model), request)
        return
    from gaussian_yolo_node.lab.threads import use_threads
    from gaussian_yolo_node.lab.training.checkpoint import read_checkpoint

    use_threads(threads)
    if "classifier" in read_checkpoint(Path(model)):
        _classifier(Path(model), request, mask, baseline_flips)
    else:
        _attacked_detector(Path(model), request)


@dataclass(frozen=True)
class _Request:
    """The options; empty corruptions and perturbations mean all, ("none",) means none."""

    data: Path
    output: Path
    labels: Path | None
    corruptions: tuple[str, ...]
    severities: tuple[int, ...]
    perturbations: tuple[str, ...]
    attacks: tuple[str, ...]
    epsilons: tuple[float, ...]
    limit: int
    seed: int
    least_score: float


def _corrupted_detector(model: str, request: _Request, workers: int, runtime: str, threads: int) -> None:
    from gaussian_yolo_node.detector.detector import Detector
    from gaussian_yolo_node.lab.robustness import report
    from gaussian_yolo_node.lab.robustness.corruptions import (
        CORRUPTIONS,
        check_corruptions,
        check_severities,
        load_library,
    )
    from gaussian_yolo_node.lab.robustness.detector_robustness import RobustnessOptions, detector_robustness
    from gaussian_yolo_node.lab.robustness.frames import find_frames
    from gaussian_yolo_node.runtime import RuntimeOptions

    # Check the settings before loading a model.
    names, levels = check_corruptions(request.corruptions or CORRUPTIONS), check_severities(request.severities)
    load_library()
    find_frames(request.data, request.labels, request.limit)
    options = RobustnessOptions(names, levels, request.limit, request.seed, workers, request.least_score)
    with (
        Console(stderr=True).status("clean") as status,
        Detector.open(model, runtime, options=RuntimeOptions(threads)) as detector,
    ):
        result = detector_robustness(
            detector, request.data, request.output, options, labels=request.labels,
            on_frame=lambda name, done: status.update(f"{name}: {done} frames"),
        )  # fmt: skip
    Console().print(report.table(result))
    report.draw(result, request.output / "robustness.png")
    share = "" if result.rpc is None else f", {result.rpc:.1%} of clean"
    print(f"mPC at IoU 0.5: {result.mpc:.3f}{share}; written: {request.output}")


def _attacked_detector(model: Path, request: _Request) -> None:
    from gaussian_yolo_node.lab.robustness import report
    from gaussian_yolo_node.lab.robustness.detector_attack import AttackOptions, detector_attacks

    options = AttackOptions(request.attacks, request.epsilons, request.limit, request.seed, request.least_score)
    with Console(stderr=True).status("clean") as status:
        result = detector_attacks(
            model, request.data, request.output, options, labels=request.labels, on_cell=status.update
        )
    report.draw_attacks(result, request.output / "robustness.png")
    for kind, row in result["attacks"].items():
        for epsilon, cell in row.items():
            ratio = "-" if cell["sigma_ratio"] is None else f"{cell['sigma_ratio']:.2f}"
            print(f"{kind} epsilon {epsilon}: mAP50 {100 * cell['map50']:.1f} %, sigma ratio {ratio}")
    print(f"written: {request.output}")


def _classifier(model: Path, request: _Request, mask: bool, baseline_flips: Path | None) -> None:
    from gaussian_yolo_node.lab.robustness import report
    from gaussian_yolo_node.lab.robustness.classifier import ClassifierOptions, classifier_robustness, read_baseline
    from gaussian_yolo_node.lab.robustness.corruptions import CORRUPTIONS, check_corruptions
    from gaussian_yolo_node.lab.robustness.perturbations import PERTURBATIONS
    from gaussian_yolo_node.lab.robustness.published import find_published
    from gaussian_yolo_node.lab.robustness.published_classifier import published_robustness

    corruptions = _all_or_none(request.corruptions, CORRUPTIONS)
    options = ClassifierOptions(
        check_corruptions(corruptions) if corruptions else (),
        request.severities,
        _all_or_none(request.perturbations, tuple(PERTURBATIONS)),
        request.attacks,
        request.epsilons,
        request.limit,
        request.seed,
        mask,
        None if baseline_flips is None else read_baseline(baseline_flips),
    )
    with Console(stderr=True).status("clean") as status:
        published = find_published(request.data)
        run: Callable[..., dict[str, Any]] = classifier_robustness if published is None else published_robustness
        result = run(model, published or request.data, request.output, options, on_cell=status.update)
    report.draw_classifier(result, request.output / "robustness.png")
    if result["clean"] is not None:
        print(f"clean top-1: {result['clean']:.1%}")
    for name, row in result["errors"].items():
        print(f"{name}: errors {', '.join(f'{100 * value:.1f}' for value in row.values())} %")
    for name, value in result["flips"].items():
        print(f"{name} sequences: flip probability {100 * value:.2f} %")
    for kind, row in result["attacks"].items():
        print(f"{kind}: top-1 {', '.join(f'{100 * value:.1f} % at {epsilon}' for epsilon, value in row.items())}")
    for name, key in (("mCE", "mce"), ("mFR", "mfr")):
        if result[key] is not None:
            print(f"{name}: {result[key]:.1f} %")
    print(f"written: {request.output}")


def _all_or_none(chosen: tuple[str, ...], everything: tuple[str, ...]) -> tuple[str, ...]:
    return () if chosen == ("none",) else chosen or everything
