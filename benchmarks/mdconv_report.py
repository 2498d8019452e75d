"""Table and figure of `mdconv_ablation.py`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from statistics import mean, stdev
from typing import Any

HOST_NAMES = {"mobilenet_v1": "MobileNet V1", "mobilenet_v2": "MobileNet V2"}
Accuracies = dict[tuple[str, str, int | None], list[float]]  # by host, kernels, layer: one value per seed, percent


def write_table(results: dict[str, Any], path: Path) -> None:
    """Write Markdown: the settings, then one table per comparison."""
    accuracies, costs, settings = _accuracies(results), results["costs"], results["settings"]
    lines = [
        "# Ablations of MDConv",
        "",
        "Written by `benchmarks/mdconv_ablation.py`, after the figures of Tan & Le, “MixConv”, BMVC 2019.",
        "",
        f"**Not ImageNet.** Accuracy is that of networks of width {settings['width']} on scikit-learn's digits (8x8 "
        f"px, enlarged to {settings['image_size']}x{settings['image_size']}): {settings['training_images']} images to "
        f"learn from, {settings['epochs']} epochs, {settings['test_images']} images to test, so one of them is "
        f"{100 / settings['test_images']:.2f} %. Mean ± standard deviation over seeds (n). Differences within the "
        "deviations say nothing. Parameters, MACs (the papers' FLOPs) and latency are those of the full networks at "
        "224x224 with 1000 classes, one image.",
        "",
        f"Machine: {results['machine']}. All variants timed in turn, medians.",
        "",
        "![The same as curves](mdconv_ablation.png)",
        "",
    ]
    for host, title in HOST_NAMES.items():
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
    lines += ["`-exp`: exponential partition; `-dil`: 3x3 kernels dilated to the same reach.", ""]
    lines += ["## MobileNet V2, one layer replaced", ""]
    kinds = sorted({kernels for _, kernels, layer in accuracies if layer is not None}, key=len)
    lines += [f"| layer | {' | '.join(kinds)} |", "|---" * (len(kinds) + 1) + "|"]
    for layer in sorted({layer for _, _, layer in accuracies if layer is not None}):
        cells = [_spread(accuracies["mobilenet_v2", kernels, layer]) for kernels in kinds]
        lines.append(f"| {layer} | {' | '.join(cells)} |")
    lines += [f"| none | {' | '.join([_spread(accuracies['mobilenet_v2', '3', None])] * len(kinds))} |", ""]
    path.write_text("\n".join(lines), encoding="utf-8")


def write_figure(results: dict[str, Any], path: Path) -> None:
    """Plot accuracy against MACs for both hosts, as in the paper's Figure 4; partitions; single layers."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    accuracies, costs = _accuracies(results), results["costs"]
    figure, axes = pyplot.subplots(2, 3, figsize=(15, 8.5), constrained_layout=True)
    for row, (host, title) in zip(axes, HOST_NAMES.items(), strict=True):
        whole = [kernels for name, kernels, layer in accuracies if name == host and layer is None]
        plain = [kernels for kernels in whole if "-" not in kernels]
        single = [kernels for kernels in plain if "." not in kernels]
        # The paper's MDConv curve begins at the plain 3x3, the case of one group.
        mixed = [kernels for kernels in plain if "." in kernels or kernels == "3"]
        for axis, cost, label in ((row[0], "macs", "MACs at 224x224, M"), (row[1], "ms", "latency at 224x224, ms")):
            scale = 1e-6 if cost == "macs" else 1.0
            for kinds, style, name in ((single, "o-", "one kernel"), (mixed, "s-", "MDConv")):
                _curve(axis, [costs[f"{host} {k}"][cost] * scale for k in kinds], kinds, accuracies, host, style, name)
            axis.set(xlabel=label, ylabel="accuracy on digits, %", title=f"{title}, every layer")
            axis.legend()
    axis = axes[0][2]
    host = "mobilenet_v2"
    bases = [k for name, k, layer in accuracies if name == host and layer is None and "." in k and "-" not in k]
    for suffix, style, name in (("", "s-", "equal"), ("-exp", "^-", "exponential"), ("-dil", "v-", "dilated 3x3")):
        kinds = [base + suffix for base in bases]
        _curve(axis, range(len(kinds)), kinds, accuracies, host, style, name, labelled=False)
    axis.set_xticks(range(len(bases)), bases)
    axis.set(xlabel="kernels", ylabel="accuracy on digits, %", title="MobileNet V2, partition and dilation")
    axis.legend()
    axis = axes[1][2]
    layers = sorted({layer for _, _, layer in accuracies if layer is not None})
    base = mean(accuracies[host, "3", None])
    for kernels, style in zip(
        sorted({k for _, k, layer in accuracies if layer is not None}, key=len), "os", strict=False
    ):
        gains = [mean(accuracies[host, kernels, layer]) - base for layer in layers]
        axis.plot(layers, gains, f"{style}-", label=kernels)
    axis.axhline(0, color="grey", linewidth=0.8)
    axis.set(xlabel="layer", ylabel="accuracy over 3x3 everywhere, %", title="MobileNet V2, one layer replaced")
    axis.legend()
    figure.suptitle("MDConv ablations on scikit-learn's digits: not ImageNet")
    figure.savefig(path, dpi=90)
    pyplot.close(figure)


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
