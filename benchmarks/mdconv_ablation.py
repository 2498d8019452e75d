#!/usr/bin/env python3
"""The ablations of the MixConv paper (Tan & Le, BMVC 2019, Figures 4, 6 and 7), scaled down to two CPU cores.

MobileNet V1 and V2 with every depthwise kernel replaced: one k x k kernel, or an MDConv of growing kernels; then one
layer at a time, and other partitions and dilated kernels. Parameters, multiply-accumulates and latency are those of the
full networks at 224x224. The accuracy is NOT on ImageNet: narrow networks learn scikit-learn's handwritten digits (8x8
px, enlarged), or patches of driving data (`driving_patches.py`). It only shows that everything trains, and how the
variants rank on a small problem.

    pip install '.[train,cpu,bench]'
    python benchmarks/mdconv_ablation.py            # writes docs/mdconv_ablation.{json,md,png}
    python benchmarks/mdconv_ablation.py --quick --output out/ablation
    python benchmarks/mdconv_ablation.py --patches DATA --host mobilenet_v2 --seeds 3 --whole \
        --output docs/mdconv_patches

Run it again to continue an interrupted call.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Annotated, Any, cast

import numpy as np
import torch
import torch.nn.functional as F
import typer
from driving_patches import CLASSES, TEST, TRAIN, load_patches
from mdconv_report import write_figure, write_table
from torch import Tensor

from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.files import write_whole
from gaussian_yolo_node.lab.complexity import complexity
from gaussian_yolo_node.lab.networks.mdconv import merge_mdconvs
from gaussian_yolo_node.lab.networks.mobilenet import MobileNet
from gaussian_yolo_node.processes import run_until_signal
from gaussian_yolo_node.runtime.machine import machine

HOSTS = {"mobilenet_v1": 13, "mobilenet_v2": 17}  # depthwise layers
SINGLE = ("3", "5", "7", "9", "11")
MIXED = ("3.5", "3.5.7", "3.5.7.9", "3.5.7.9.11")
LAYER_KERNELS = ("9", "3.5.7.9")  # the paper's single-layer comparison
FULL_SIZE, FULL_CLASSES = (224, 224), 1000
TIMED_ROUNDS = 30


@dataclass(frozen=True)
class Settings:
    """Settings shared by all runs of a results file. With `width` 0.35 all layers can have five exponential groups."""

    data: str = "digits"
    image_size: int = 32
    width: float = 0.35
    training_images: int = 1000
    test_images: int = 797
    epochs: int = 15
    batch_size: int = 50
    learning_rate: float = 4e-3
    seeds: int = 2


# As many patches of each class; fewer to test where there are not so many.
PATCHES = Settings("patches", 48, training_images=1200, test_images=1200, epochs=8)


@dataclass(frozen=True)
class Run:
    """One training; `layer` is the only replaced layer, or None for all."""

    host: str
    kernels: str
    layer: int | None
    seed: int

    @property
    def key(self) -> str:
        return f"{self.host} {self.kernels} {'all' if self.layer is None else self.layer} {self.seed}"

    @property
    def replacement(self) -> str | dict[int, str]:
        return self.kernels if self.layer is None else {self.layer: self.kernels}


def main(
    output: Annotated[Path, typer.Option(help="Where .json, .md and .png go, without ending.")] = Path(
        "docs/mdconv_ablation"
    ),
    quick: Annotated[bool, typer.Option("--quick", help="A minute's worth: few variants, one short epoch.")] = False,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each variant.")] = Settings.seeds,
    jobs: Annotated[int, typer.Option(min=0, help="Trainings at a time, one thread each; 0: one a core.")] = 0,
    patches: Annotated[
        Path | None, typer.Option(metavar="DATA", help="Learn patches of this driving data.", show_default="digits")
    ] = None,
    host: Annotated[list[str] | None, typer.Option(help="May be given again.", show_default="all")] = None,
    whole: Annotated[bool, typer.Option("--whole", help="Neither single layers nor other partitions.")] = False,
    minutes: Annotated[float, typer.Option(min=0, help="Begin no training after these; 0 for no limit.")] = 0,
) -> None:
    """Train, count and time all variants; finished runs in OUTPUT.json are not repeated."""
    hosts = host or list(HOSTS)
    if not set(hosts) <= set(HOSTS):
        sys.exit(f"--host is one of {', '.join(HOSTS)}")
    settings = replace(Settings() if patches is None else PATCHES, seeds=seeds)
    if quick:
        settings = replace(settings, training_images=200, test_images=100, epochs=1, seeds=1)
    path = output.with_suffix(".json")
    results = read_results(path, settings)
    output.parent.mkdir(parents=True, exist_ok=True)
    try:
        data = load_digits(settings) if patches is None else load_driving(patches, settings)
    except GaussianYoloError as error:
        sys.exit(f"error: {error}")
    wanted = list(variants(quick, hosts, whole))
    pending = [run for run in plan(quick, wanted, settings.seeds, whole) if run.key not in results["runs"]]
    began = perf_counter()
    # The networks are too small for several threads. Fork would inherit torch's locked threads.
    workers = ProcessPoolExecutor(
        jobs or len(os.sched_getaffinity(0)), get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)
    )
    with workers:
        futures = {workers.submit(train, run, data, settings): run for run in pending}
        for number, future in enumerate(as_completed(futures), 1):
            if future.cancelled():
                continue
            if minutes and perf_counter() - began > 60 * minutes:
                for each in futures:
                    each.cancel()
            run, accuracy = futures[future], future.result()
            results["runs"][run.key] = {**asdict(run), "accuracy": accuracy}
            write_results(path, results)
            print(f"{number}/{len(pending)}  {run.key:36} {accuracy:7.2%}", flush=True)
    missing = [name for name in map(" ".join, wanted) if name not in results["costs"]]
    if missing:
        # All in one session, interleaved, because the machine's speed varies over time.
        results["costs"] |= measure_costs(wanted, 3 if quick else TIMED_ROUNDS)
        results["machine"] = describe_machine()
        write_results(path, results)
    write_table(results, output.with_suffix(".md"))
    write_figure(results, output.with_suffix(".png"))
    print(output.with_suffix(".md").read_text(encoding="utf-8"))


def plan(quick: bool, wanted: list[tuple[str, str]], seeds: int, whole: bool) -> list[Run]:
    """All trainings, seed by seed, so that an early stop leaves complete comparisons."""
    runs = []
    for seed in range(seeds):
        runs += [Run(host, kernels, None, seed) for host, kernels in wanted]
        host = "mobilenet_v2"
        if whole or (host, "3") not in wanted:
            continue
        layers = (0, HOSTS[host] - 1) if quick else range(HOSTS[host])
        runs += [Run(host, kernels, layer, seed) for kernels in LAYER_KERNELS for layer in layers]
    return runs


def variants(quick: bool, hosts: Sequence[str], whole: bool) -> Iterator[tuple[str, str]]:
    """Whole-network variants: host and kernels. The dilated and exponential ones have the kernel sizes of MIXED."""
    for host in hosts:
        single, mixed = (SINGLE[:2], MIXED[:1]) if quick else (SINGLE, MIXED)
        yield from ((host, kernels) for kernels in single + mixed)
        if whole:
            continue
        yield from ((host, kernels + suffix) for kernels in mixed for suffix in ("-exp", "-dil"))


@dataclass(frozen=True)
class Images:
    """Images float32 `[N,3,H,W]` with about zero mean and unit standard deviation, and labels int64 `[N]`."""

    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor


def load_digits(settings: Settings) -> Images:
    """scikit-learn's digits, split once for all runs, enlarged bilinearly."""
    try:
        from sklearn import datasets
    except ImportError:
        raise SystemExit("the digits are in scikit-learn: pip install '.[bench]'") from None
    bunch = datasets.load_digits()
    order = np.random.default_rng(0).permutation(len(bunch.target))[: settings.training_images + settings.test_images]
    images = torch.from_numpy(bunch.images[order].astype(np.float32))[:, None] / 16
    side = settings.image_size
    images = F.interpolate(images, (side, side), mode="bilinear", align_corners=False)
    images = ((images - images.mean()) / images.std()).expand(-1, 3, -1, -1).contiguous()
    labels = torch.from_numpy(bunch.target[order].astype(np.int64))
    count = settings.training_images
    return Images(images[:count], labels[:count], images[count:], labels[count:])


def load_driving(root: Path, settings: Settings) -> Images:
    """Patches of the driving data, see `driving_patches`. Raises DatasetError if the data are missing."""
    parts: list[Tensor] = []
    for sources, count in ((TRAIN, settings.training_images), (TEST, settings.test_images)):
        patches, classes = load_patches(root, sources, count // len(CLASSES), settings.image_size)
        parts += [torch.from_numpy(patches).permute(0, 3, 1, 2).float(), torch.from_numpy(classes)]
    mean, deviation = parts[0].mean(), parts[0].std()
    return Images((parts[0] - mean) / deviation, parts[1], (parts[2] - mean) / deviation, parts[3])


def train(run: Run, data: Images, settings: Settings) -> float:
    """Test accuracy, 0..1, of patches the mean over the classes, after the last epoch: AdamW, one cycle, images shifted
    by up to an eighth."""
    torch.manual_seed(run.seed)
    model = MobileNet(run.host, int(data.train_labels.max()) + 1, kernels=run.replacement, width=settings.width)
    # Depthwise convolutions train three times as fast in this format. The type stub of Module.to lacks memory_format.
    cast(Any, model).to(memory_format=torch.channels_last)
    batches = len(data.train) // settings.batch_size
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.learning_rate, total_steps=settings.epochs * batches
    )
    for _ in range(settings.epochs):
        for indices in torch.randperm(len(data.train))[: batches * settings.batch_size].view(batches, -1):
            images = shifted(data.train[indices]).to(memory_format=torch.channels_last)
            loss = F.cross_entropy(model(images), data.train_labels[indices])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
    model.eval()
    with torch.no_grad():
        answers = torch.cat([model(part).argmax(1) for part in data.test.split(100)])
    right = (answers == data.test_labels).float()
    if settings.data == "digits":  # whose classes are about equally many
        return float(right.mean())
    return float(torch.stack([right[data.test_labels == one].mean() for one in data.test_labels.unique()]).mean())


def shifted(images: Tensor) -> Tensor:
    """A batch with each image shifted by its own offset."""
    reach = images.shape[-1] // 8
    padded = F.pad(images, (reach,) * 4, mode="replicate")
    side = images.shape[-1]
    offsets = torch.randint(0, 2 * reach + 1, (len(images), 2)).tolist()
    return torch.stack([padded[i, :, y : y + side, x : x + side] for i, (y, x) in enumerate(offsets)])


def measure_costs(wanted: list[tuple[str, str]], rounds: int) -> dict[str, dict[str, float]]:
    """Parameters, multiply-accumulates and milliseconds of the full networks, with MDConvs unmerged and merged."""
    costs: dict[str, dict[str, float]] = {}
    requests: dict[tuple[str, str], Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for host, kernels in wanted:
            name = f"{host} {kernels}"
            model = MobileNet(host, FULL_CLASSES, kernels=kernels).eval()
            cost = complexity(model, FULL_SIZE)
            costs[name] = {"parameters": cost.parameters, "macs": cost.macs}
            requests[name, "ms"] = compiled(model, Path(folder) / "model.onnx")
            if "." in kernels and "-" not in kernels:
                requests[name, "merged_ms"] = compiled(merge_mdconvs(model), Path(folder) / "model.onnx")
    times: dict[tuple[str, str], list[float]] = {key: [] for key in requests}
    for turn in range(-2, rounds):
        for key, request in requests.items():
            started = perf_counter()
            request.infer()
            if turn >= 0:
                times[key].append((perf_counter() - started) * 1e3)
    for (name, field), values in times.items():
        costs[name][field] = median(values)
    return costs


def compiled(model: torch.nn.Module, path: Path) -> Any:
    """An OpenVINO inference request of a classifier, one image, fp32."""
    import openvino

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer warns that sizes become constants
        torch.onnx.export(model, (torch.zeros(1, 3, *FULL_SIZE),), str(path), dynamo=False, opset_version=17)
    hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    request = openvino.compile_model(str(path), "CPU", hints).create_infer_request()
    image = np.random.default_rng(0).standard_normal((1, 3, *FULL_SIZE)).astype(np.float32)
    request.set_input_tensor(openvino.Tensor(image, shared_memory=False))
    return request


def describe_machine() -> str:
    import openvino

    return f"{machine()}; OpenVINO {openvino.get_version().split('-')[0]} fp32; torch {torch.__version__}"


def read_results(path: Path, settings: Settings) -> dict[str, Any]:
    """The results of an earlier, unfinished call, or empty results; rejects results of other settings."""
    shared = {key: value for key, value in asdict(settings).items() if key != "seeds"}
    if not path.exists():
        return {"settings": shared, "machine": "", "runs": {}, "costs": {}}
    results: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if results["settings"] != shared:
        sys.exit(f"{path} is of other settings ({results['settings']}); remove it or give another --output")
    return results


def write_results(path: Path, results: dict[str, Any]) -> None:
    write_whole(path, json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    run_until_signal(lambda: typer.run(main))
