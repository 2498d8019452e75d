#!/usr/bin/env python3
"""Costs of one picture of Noisy Student here, and what 300 million take: the tables of docs/at_scale.md.

Measured in time of one core (not of the clock): decoding, a classifier's crop, the noise of training, labelling by
EfficientNet-B0; and the bytes of a picture and of its row of 1,000 probabilities. Larger networks are extrapolated by
their multiply-accumulates, GPUs by the rate that --tflops says they keep up.

    pip install '.[train,scale]'
    python benchmarks/at_scale.py photographs/ --write docs/at_scale.md
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from gaussian_yolo_node.files import write_whole
from gaussian_yolo_node.frames.files import list_images
from gaussian_yolo_node.lab.classification.config import NoiseConfig
from gaussian_yolo_node.lab.classification.crops import as_tensor, centre_crop
from gaussian_yolo_node.lab.classification.data import View
from gaussian_yolo_node.lab.complexity import complexity
from gaussian_yolo_node.lab.networks.backbones import create_backbone
from gaussian_yolo_node.lab.noisy_student.chain_config import ChainConfig
from gaussian_yolo_node.lab.noisy_student.dry_run import costs
from gaussian_yolo_node.lab.noisy_student.tables import write_rows
from gaussian_yolo_node.lab.training.recipes import find_recipe
from gaussian_yolo_node.labels.images import read_image

PICTURES, LABELLED, SHARDS = 300_000_000, 1_281_167, 30_000
CLASSES, SIZE = 1000, 475
MARKS = ("<!-- begin: benchmarks/at_scale.py -->", "<!-- end -->")


def main(
    photographs: Annotated[Path, typer.Argument(help="Folder of JPEGs, some dozens.")],
    write: Annotated[Path | None, typer.Option(help="Page whose tables to replace; figures go beside it.")] = None,
    tflops: Annotated[float, typer.Option(help="Rate that a GPU keeps up, 10^12 operations a second.")] = 100.0,
) -> None:
    torch.set_num_threads(1)
    figures = {**measure(list_images(photographs)), "tflops": tflops}
    text = tables(figures)
    print(text)
    if write is not None:
        write_whole(write.with_suffix(".json"), json.dumps(figures, indent=1) + "\n")
        before, rest = write.read_text(encoding="utf-8").split(MARKS[0])
        write_whole(write, f"{before}{MARKS[0]}\n{text}\n{MARKS[1]}{rest.split(MARKS[1])[1]}")


def measure(paths: Sequence[Path]) -> dict[str, Any]:
    """Bytes, and core milliseconds, of one picture."""
    images = [read_image(path) for path in paths]
    rng = np.random.default_rng(0)
    view = View(NoiseConfig(rand_augment_magnitude=27.0, least_crop=0.08), SIZE, 0.875)
    network = create_backbone("efficientnet_b0", CLASSES).eval()
    batch = as_tensor([centre_crop(images[0], 224, 0.875)]).float() / 255
    with torch.no_grad():
        b0_ms = _core_ms(lambda: network(batch), 5)
    return {
        "picture_bytes": float(np.mean([path.stat().st_size for path in paths])),
        "row_bytes": row_bytes(rng),
        "decode_ms": float(np.mean([_core_ms(partial(read_image, path), 3) for path in paths])),
        "crop_ms": float(np.mean([_core_ms(partial(centre_crop, image, SIZE, 0.875), 3) for image in images])),
        "noise_ms": float(np.mean([_core_ms(partial(view, image, rng), 3) for image in images])),
        "b0_ms": b0_ms,
        "b0_macs": complexity(network, (224, 224)).macs,
        "chain": chain_costs(),
    }


def row_bytes(rng: np.random.Generator, rows: int = 512) -> float:
    """Bytes of a row of probabilities, on average over a part: softmax of normal logits, as of a sure teacher."""
    logits = rng.normal(0, 3, (rows, CLASSES))
    given = np.exp(logits - logits.max(1, keepdims=True))
    given /= given.sum(1, keepdims=True)
    records = [
        {"image": f"{index:09d}.jpg", "source": "unlabelled/{000000..029999}.tar", "shard": "000000.tar",
         "index": index, "height": 375, "width": 500, "probabilities": row.astype(np.float32).tolist()}
        for index, row in enumerate(given)
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "part.parquet"
        write_rows(path, "classification", records, {})
        return path.stat().st_size / rows


def chain_costs() -> list[dict[str, Any]]:
    """The steps of the paper's chain."""
    found = costs(ChainConfig.load(find_recipe("noisy_student_chain")), LABELLED, PICTURES)
    return [vars(cost) | {"size": list(cost.size)} for cost in found]


def tables(figures: dict[str, Any]) -> str:
    """The page's tables from the figures."""
    per_core = figures["b0_macs"] / figures["b0_ms"] / 1e6  # GMAC per second
    rows = [
        ("JPEG, as it lies in a shard", f"{figures['picture_bytes'] / 1e3:.0f} kB", _tb(figures["picture_bytes"])),
        ("row of 1,000 probabilities", f"{figures['row_bytes'] / 1e3:.1f} kB", _tb(figures["row_bytes"])),
        ("decoding", f"{figures['decode_ms']:.1f} ms", _core_days(figures["decode_ms"])),
        (f"crop at {SIZE} px", f"{figures['crop_ms']:.1f} ms", _core_days(figures["crop_ms"])),
        (f"noise of training at {SIZE} px", f"{figures['noise_ms']:.1f} ms", _core_days(figures["noise_ms"])),
        ("EfficientNet-B0 at 224 px", f"{figures['b0_ms']:.0f} ms", _core_days(figures["b0_ms"])),
    ]
    out = ["| one picture | here, one core | 300 million |", "|---|---|---|"]
    out += [f"| {' | '.join(row)} |" for row in rows]
    out += ["", f"A core computes {per_core:.0f} GMAC/s of EfficientNet-B0; a GPU is taken to keep up "
            f"{figures['tflops']:g} TFLOP/s.", ""]  # fmt: skip
    out += [
        "| step | px | parameters, M | images | steps | GiB, + per image | GPU hours |",
        "|---|---|---|---|---|---|---|",
    ]
    total = 0.0
    for cost in figures["chain"]:
        hours = cost["operations"] / (figures["tflops"] * 1e12) / 3600
        total += hours
        steps = f"{cost['steps']:,}" if cost["steps"] else ""
        memory = f"{cost['fixed_bytes'] / 2**30:.1f}"
        memory += f" + {cost['image_bytes'] / 2**30:.2f}" if cost["steps"] else ""
        out.append(
            f"| {cost['name']} | {cost['size'][0]} | {cost['parameters'] / 1e6:.1f} | {cost['images'] / 1e6:,.0f} M | "
            f"{steps} | {memory} | {hours:,.0f} |"
        )
    out += ["", f"In all {total:,.0f} GPU hours: {total / 24 / 64:,.0f} days of 64 GPUs."]
    return "\n".join(out)


def _tb(value: float) -> str:
    return f"{value * PICTURES / 1e12:.1f} TB"


def _core_days(milliseconds: float) -> str:
    return f"{milliseconds * PICTURES / 1000 / 86400:,.0f} core days"


def _core_ms(work: Callable[[], Any], times: int) -> float:
    """Least time of this thread's core, ms."""
    taken = []
    for _ in range(times):
        begun = time.thread_time()
        work()
        taken.append(time.thread_time() - begun)
    return min(taken) * 1000


if __name__ == "__main__":
    typer.run(main)
