"""Table and figure of `peers.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from gaussian_yolo_node.runtime.base import show_size

matplotlib.use("Agg")
from matplotlib import pyplot

Row = dict[str, Any]


def write_report(document: dict[str, Any], folder: Path) -> None:
    """Write peers.md and peers.png to a folder; the document is that of `peers.measure`, ours in its first row."""
    rows: list[Row] = document["rows"]
    frame, canvas = show_size(document["frame"]), show_size(document["canvas"])
    lines = [
        "# Speed beside other detectors",
        "",
        f"Time from the pixels of a frame to detections, all stages: letterbox, network, decoding, suppression. Frames "
        f"of {frame}, canvas {canvas} for all; {len(rows[0]['ms'])} rounds with one frame for each detector in turn. "
        f"{document['processor']}; load average {document['load']} before the first round (0: idle). By `python "
        "benchmarks/peers.py`, which also says how the peers are opened.",
        "",
        *_summary(rows),
        "",
        "![Frames per second](peers.png)",
        "",
        "| detector | network | frames/s | ms, median (quartiles) | ratio to row 1 | detections per frame | runs on |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        low, middle, high = np.percentile(row["ms"], (25, 50, 75))
        times = f"{middle:.1f} ({low:.1f} to {high:.1f})"
        cells = [row["name"], row["network"], f"{1e3 / middle:.1f}", times, f"{_ratio(row, rows[0]):.2f}"]
        lines.append(f"| {' | '.join(cells)} | {np.mean(row['detections']):.1f} | {row['description']} |")
    lines += [
        "",
        "Ratios are medians over the rounds. A network takes as long with random weights as with trained ones, but "
        "finds nothing to suppress. Ultralytics leaves a core free by default, so it is also timed with all cores. "
        "Other work on the machine slows most what waits for its slowest thread: trust these ratios only at a load "
        "near 0.",
        "",
    ]
    if document["left_out"]:
        lines += ["Not timed here:", "", *(f"- {reason}" for reason in document["left_out"]), ""]
    (folder / "peers.md").write_text("\n".join(lines), encoding="utf-8")
    _draw(rows, folder / "peers.png")


def _summary(rows: list[Row]) -> list[str]:
    """One line per kind of peer: the ratio of its fastest network's time to each of ours."""
    lines = []
    for name in dict.fromkeys(row["name"] for row in rows if row["name"] != rows[0]["name"]):
        best = min((row for row in rows if row["name"] == name), key=lambda row: float(np.median(row["ms"])))
        ours = [row for row in rows if row["name"] == rows[0]["name"]]
        ratios = [f"{_ratio(best, row):.1f} times that of {row['description']}" for row in ours]
        lines.append(f"- {name}, at its fastest ({best['network']}, {best['description']}): {'; '.join(ratios)}.")
    return [f"Time of each peer compared with {rows[0]['name']}:", "", *lines]


def _ratio(row: Row, to: Row) -> float:
    """Median over the rounds of the ratio of two times."""
    return float(np.median(np.divide(row["ms"], to["ms"])))


def _draw(rows: list[Row], path: Path) -> None:
    names = list(dict.fromkeys(row["name"] for row in rows))
    figure, axis = pyplot.subplots(figsize=(10, 1 + 0.4 * len(rows)), constrained_layout=True)
    speeds = [1e3 / np.median(row["ms"]) for row in rows]
    bars = axis.barh(range(len(rows)), speeds, color=[f"C{names.index(row['name'])}" for row in rows])
    labels = [f"{row['name']}, {row['network']}\n{row['description']}" for row in rows]
    axis.bar_label(bars, fmt="%.1f", padding=3)
    axis.set_yticks(range(len(rows)), labels, fontsize=8)
    axis.invert_yaxis()
    axis.set(xlabel="frames per second, from pixels to detections", xlim=(0, 1.1 * max(speeds)))
    figure.savefig(path, dpi=90)
    pyplot.close(figure)
