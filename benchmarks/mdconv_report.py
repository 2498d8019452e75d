"""Table and figure of `mdconv_ablation.py`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
from figures import saved_figure

HOST_NAMES = {"mobilenet_v1": "MobileNet V1", "mobilenet_v2": "MobileNet V2"}
DECIDING = 3  # seeds that have to agree
Accuracies = dict[tuple[str, str, int | None], list[float]]  # by host, kernels, layer: one value per seed, percent


def write_table(results: dict[str, Any], path: Path) -> None:
    """Write Markdown: the settings, then one table per comparison."""
    accuracies, costs, settings = _accuracies(results), results["costs"], results["settings"]
    hosts = _hosts(accuracies)
    lines = [
        f"# Ablations of MDConv{' on driving patches' if settings['data'] == 'patches' else ''}",
        "",
        "Written by `benchmarks/mdconv_ablation.py`, after the figures of Tan & Le, “MixConv”, BMVC 2019.",
        "",
        f"**Not ImageNet.** Accuracy is that of networks of width {settings['width']} on {_images(settings)}, "
        f"{settings['epochs']} epochs. Mean ± standard deviation over seeds (n). Differences within the deviations say "
        "nothing. Parameters, MACs (the papers' FLOPs) and latency are those of the full networks at 224x224 with 1000 "
        "classes, one image.",
        "",
        f"Machine: {results['machine']}. All variants timed in turn, medians.",
        "",
        *(f"**{conclusion(results, host)}**\n" for host in hosts),
        f"![The same as curves]({path.stem}.png)",
        "",
    ]
    for host, title in hosts.items():
        lines += [f"## {title}, every depthwise layer", ""]
        lines += ["| kernels | accuracy, % | parameters, M | MACs, M | latency, ms | merged, ms |"]
        lines += ["|---|---|---|---|---|---|"]
        for (row_host, kernels, layer), values in accuracies.items():
            if row_host == host and layer is None:
                cost = costs[f"{host} {kernels}"]
                merged = f"{cost['merged_ms']:.2f}" if "merged_ms" in cost else ""
                lines.append(
                    f"| {kernels} | {_spread(values)} | {cost['parameters'] / 1e6:.2f} | {cost['macs'] / 1e6:.0f} "
                    f"| {cost['ms']:.2f} | {merged} |"
                )
        lines.append("")
    if any("-" in kernels for _, kernels, _ in accuracies):
        lines += ["`-exp`: exponential partition; `-dil`: 3x3 kernels dilated to the same reach.", ""]
    kinds = sorted({kernels for _, kernels, layer in accuracies if layer is not None}, key=len)
    if kinds:
        lines += ["## MobileNet V2, one layer replaced", ""]
        lines += [f"| layer | {' | '.join(kinds)} |", "|---" * (len(kinds) + 1) + "|"]
        for layer in sorted({layer for _, _, layer in accuracies if layer is not None}):
            cells = [_spread(accuracies["mobilenet_v2", kernels, layer]) for kernels in kinds]
            lines.append(f"| {layer} | {' | '.join(cells)} |")
        none = _spread(accuracies["mobilenet_v2", "3", None])
        lines += [f"| none | {' | '.join([none] * len(kinds))} |", ""]
    path.write_text("\n".join(lines), encoding="utf-8")


def conclusion(results: dict[str, Any], host: str) -> str:
    """A sentence: MDConv's accuracy against that of single kernels at the same MACs, seed by seed.

    The single kernels' accuracy is interpolated between their MACs; both as means over the MDConvs.
    """
    costs, by_seed = results["costs"], defaultdict[int, dict[str, float]](dict)
    for run in results["runs"].values():
        if run["host"] == host and run["layer"] is None and "-" not in run["kernels"]:
            by_seed[run["seed"]][run["kernels"]] = 100 * run["accuracy"]
    most = max(map(len, by_seed.values()), default=0)
    gains = []
    for _, of in sorted(by_seed.items()):
        if len(of) < most:
            continue  # this seed is not finished
        plain: list[tuple[float, float]] = []
        mixed: list[tuple[float, float]] = []
        for kernels, value in of.items():
            (mixed if "." in kernels else plain).append((costs[f"{host} {kernels}"]["macs"], value))
        if not plain or not mixed:
            continue
        known, accuracies = zip(*sorted(plain), strict=True)
        gains.append(mean(value - float(np.interp(macs, known, accuracies)) for macs, value in mixed))
    if not gains:
        return f"{HOST_NAMES[host]}: no seed is finished."
    claim = (
        f"{HOST_NAMES[host]}: at equal MACs, MDConv's accuracy differs from a single kernel's by "
        f"{', '.join(f'{gain:+.1f}' for gain in gains)} points, seed by seed"
    )
    if len(gains) >= DECIDING and min(gains) > 0:
        return f"{claim}: MDConv is better, as the paper says."
    if len(gains) >= DECIDING and max(gains) < 0:
        return f"{claim}: MDConv is worse, unlike in the paper."
    return f"{claim}: this does not decide it."


def _images(settings: dict[str, Any]) -> str:
    side, share = settings["image_size"], 100 / settings["test_images"]
    if settings["data"] == "patches":
        return (
            f"patches of cars, pedestrians, cyclists and background of {side}x{side} px, cut from driving data and "
            f"split by drive: at most {settings['training_images'] // 4} of each class to learn from, at most "
            f"{settings['test_images'] // 4} to test; mean over the classes"
        )
    return (
        f"scikit-learn's digits (8x8 px, enlarged to {side}x{side}): {settings['training_images']} images to learn "
        f"from, {settings['test_images']} images to test, so one of them is {share:.2f} %"
    )


def _hosts(accuracies: Accuracies) -> dict[str, str]:
    """Title of each host that was measured."""
    return {host: title for host, title in HOST_NAMES.items() if any(name == host for name, *_ in accuracies)}


def write_figure(results: dict[str, Any], path: Path) -> None:
    """Plot accuracy against MACs for each host, as in the paper's Figure 4; partitions; single layers."""
    accuracies, costs = _accuracies(results), results["costs"]
    hosts = _hosts(accuracies)
    data = "scikit-learn's digits" if results["settings"]["data"] == "digits" else "driving patches"
    with saved_figure(path, 2, 3, (15, 8.5)) as (figure, axes):
        for row, (host, title) in zip(axes, hosts.items(), strict=False):
            whole = [kernels for name, kernels, layer in accuracies if name == host and layer is None]
            plain = [kernels for kernels in whole if "-" not in kernels]
            single = [kernels for kernels in plain if "." not in kernels]
            # The paper's MDConv curve begins at the plain 3x3, the case of one group.
            mixed = [kernels for kernels in plain if "." in kernels or kernels == "3"]
            for axis, cost, label in ((row[0], "macs", "MACs at 224x224, M"), (row[1], "ms", "latency at 224x224, ms")):
                scale = 1e-6 if cost == "macs" else 1.0
                for kinds, style, name in ((single, "o-", "one kernel"), (mixed, "s-", "MDConv")):
                    _curve(
                        axis, [costs[f"{host} {k}"][cost] * scale for k in kinds], kinds, accuracies, host, style, name
                    )
                axis.set(xlabel=label, ylabel="accuracy, %", title=f"{title}, every layer")
                axis.legend()
        host = "mobilenet_v2"
        if host in hosts:
            _partitions(axes[0][2], accuracies, host)
            _layers(axes[1][2], accuracies, host)
        for axis in axes.flat:
            axis.set_visible(axis.has_data())
        figure.suptitle(f"MDConv ablations on {data}: not ImageNet")


def _partitions(axis: Any, accuracies: Accuracies, host: str) -> None:
    bases = [k for name, k, layer in accuracies if name == host and layer is None and "." in k and "-" not in k]
    for suffix, style, name in (("", "s-", "equal"), ("-exp", "^-", "exponential"), ("-dil", "v-", "dilated 3x3")):
        kinds = [base + suffix for base in bases if (host, base + suffix, None) in accuracies]
        _curve(axis, range(len(kinds)), kinds, accuracies, host, style, name, labelled=False)
    axis.set_xticks(range(len(bases)), bases)
    axis.set(xlabel="kernels", ylabel="accuracy, %", title="MobileNet V2, partition and dilation")
    axis.legend()


def _layers(axis: Any, accuracies: Accuracies, host: str) -> None:
    layers = sorted({layer for _, _, layer in accuracies if layer is not None})
    if not layers:
        return
    base = mean(accuracies[host, "3", None])
    kinds = sorted({kernels for _, kernels, layer in accuracies if layer is not None}, key=len)
    for kernels, style in zip(kinds, "os", strict=False):
        gains = [mean(accuracies[host, kernels, layer]) - base for layer in layers]
        axis.plot(layers, gains, f"{style}-", label=kernels)
    axis.axhline(0, color="grey", linewidth=0.8)
    axis.set(xlabel="layer", ylabel="accuracy over 3x3 everywhere, %", title="MobileNet V2, one layer replaced")
    axis.legend()


def _curve(
    axis: Any,
    places: Iterable[float],
    kinds: list[str],
    accuracies: Accuracies,
    host: str,
    style: str,
    name: str,
    labelled: bool = True,
) -> None:
    places = list(places)
    rows = [accuracies[host, kernels, None] for kernels in kinds]
    means = [mean(values) for values in rows]
    spreads = [stdev(values) if len(values) > 1 else 0.0 for values in rows]
    axis.errorbar(places, means, spreads, fmt=style, capsize=3, label=name)
    for place, height, kernels in zip(places, means, kinds, strict=True):
        if labelled:
            axis.annotate(kernels, (place, height), textcoords="offset points", xytext=(5, 5), fontsize=8)


def _accuracies(results: dict[str, Any]) -> Accuracies:
    rows: Accuracies = defaultdict(list)
    for run in results["runs"].values():
        rows[run["host"], run["kernels"], run["layer"]].append(100 * run["accuracy"])
    return dict(sorted(rows.items(), key=lambda row: _order(*row[0])))


def _order(host: str, kernels: str, layer: int | None) -> tuple[str, int, str, bool, list[int]]:
    """Sort key: single kernels, MDConvs, then their variants, each by increasing kernel size."""
    sizes, _, suffix = kernels.partition("-")
    return host, -1 if layer is None else layer, suffix, "." in sizes, [int(size) for size in sizes.split(".")]


def _spread(values: list[float]) -> str:
    return f"{mean(values):.1f} ± {stdev(values):.1f} ({len(values)})" if len(values) > 1 else f"{values[0]:.1f} (1)"
