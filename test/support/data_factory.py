"""Small data sets with known faults."""

from __future__ import annotations

from pathlib import Path

import cv2
from factories import make_image

SIZE = (64, 128)  # height and width of all images, px
KITTI_LINE = "{kind} 0.00 0 -1.58 {box} 1.65 1.67 3.64 -0.65 1.71 46.70 -1.59"
SOUND = KITTI_LINE.format(kind="Car", box="10 10 40 30")

# Description, fault kind, file, and line.
TEN_FAULTS = (
    ("missing image", "labels/000000.txt", None),
    ("unreadable image", "images/000001.jpg", None),
    ("malformed label", "labels/000002.txt", 2),
    ("unknown class", "labels/000003.txt", 2),
    ("number not finite", "labels/000004.txt", 2),
    ("inverted box", "labels/000005.txt", 2),
    ("empty box", "labels/000006.txt", 2),
    ("box outside the image", "labels/000007.txt", 2),
    ("duplicate box", "labels/000008.txt", 2),
    ("duplicate image", "images/000009.jpg", None),
)
_SECOND_LINES = {
    "000002": "Car 0.00 0 -1.58 10 10 40",
    "000003": KITTI_LINE.format(kind="Spaceship", box="50 10 70 30"),
    "000004": KITTI_LINE.format(kind="Car", box="50 nan 70 30"),
    "000005": KITTI_LINE.format(kind="Car", box="70 10 50 30"),
    "000006": KITTI_LINE.format(kind="Car", box="50 10 50 30"),
    "000007": KITTI_LINE.format(kind="Car", box="100 10 140 30"),
    "000008": SOUND,
}


def make_kitti(folder: Path, stems: list[str], first_seed: int = 0) -> None:
    """Images of coloured blocks, each with a car, in `images` and `labels`."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / "labels").mkdir(exist_ok=True)
    for seed, stem in enumerate(stems, start=first_seed):
        cv2.imwrite(str(folder / "images" / f"{stem}.jpg"), make_image(*SIZE, seed=seed))
        (folder / "labels" / f"{stem}.txt").write_text(SOUND + "\n")


def plant_ten_faults(folder: Path) -> None:
    """A KITTI-style data set of twelve images with the `TEN_FAULTS`; the last two images have no faults."""
    make_kitti(folder, [f"{number:06d}" for number in range(12)])
    images = folder / "images"
    (images / "000000.jpg").unlink()
    whole = (images / "000001.jpg").read_bytes()
    (images / "000001.jpg").write_bytes(whole[: len(whole) // 2])
    for stem, line in _SECOND_LINES.items():
        (folder / "labels" / f"{stem}.txt").write_text(f"{SOUND}\n{line}\n")
    (images / "000009.jpg").write_bytes((images / "000008.jpg").read_bytes())
