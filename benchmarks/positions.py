"""Places on the road against KITTI's 3-D boxes: from true boxes of all label files, and from detections on drive 0011
and on single frames of other drives.

    python benchmarks/positions.py --data DATA --report docs    # writes docs/positions.md
    python benchmarks/positions.py --data DATA --fit            # prints class sizes and the pose's spread

Sizes and spread are fitted to the label files whose frames are of other drives than 0011, the test drive. Each label
file has the calibration of its day. KITTI's camera is taken to be level and 1.65 m above the ground, as in its setup
(Geiger et al., "Vision meets Robotics: The KITTI Dataset", IJRR 2013).
"""

from __future__ import annotations

import argparse
import lzma
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import thread_time

import numpy as np
from evaluation_speed import unpack
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from gaussian_yolo_node.detector.detections import Detections
from gaussian_yolo_node.detector.detector import Detector
from gaussian_yolo_node.detector.model import DEFAULT_MODEL
from gaussian_yolo_node.evaluation import LEAST_SCORE
from gaussian_yolo_node.evaluation.paired import pair
from gaussian_yolo_node.evaluation.position import (
    DESCRIPTION,
    HEADINGS,
    Placed,
    PositionResult,
    cells,
    place_detections,
    position_result,
    state_line,
    true_places,
)
from gaussian_yolo_node.files import write_whole
from gaussian_yolo_node.frames.camera_calibration import Calibration, read_kitti_calibration
from gaussian_yolo_node.labels import image_files, image_size, read_image
from gaussian_yolo_node.labels.labelled_frames import FramePredictions, GroundTruth, Truths
from gaussian_yolo_node.labels.truths import read_kitti_labels
from gaussian_yolo_node.position.camera import Camera, CameraPose
from gaussian_yolo_node.position.class_sizes import ClassSize
from gaussian_yolo_node.position.locate import Locator
from gaussian_yolo_node.position.motion import GroundTracks
from gaussian_yolo_node.runtime import RuntimeOptions
from gaussian_yolo_node.runtime.base import show_size
from gaussian_yolo_node.runtime.machine import machine
from gaussian_yolo_node.tracking import Tracker

Floats = NDArray[np.float64]

CAMERA_HEIGHT_M = 1.65
TEST_DRIVE = "2011_09_26_drive_0011_sync"
CLASSES = ("Car", "Van", "Truck", "Pedestrian", "Person_sitting", "Cyclist", "Tram")
CLASS_NAMES = ("car", "pedestrian", "cyclist")
CANVAS = (384, 1248)
# KITTI's boxes are projections of its 3-D boxes; the standard deviation about those is half a pixel.
TRUE_BOX_SIGMA_PX = 0.5
ROUNDS = 300
LEAST_PLACES = 50  # about as many as the test drive has


@dataclass(frozen=True, eq=False)
class Labelled:
    """All objects of the label files of one day, which have one calibration.

    Attributes:
        calibration: of the left colour camera.
        size: (height, width) of its images in px.
        boxes, cuboids: [N, 4] and [N, 7].
        classes: N names.
        drives: N names of drives.
    """

    calibration: Calibration
    size: tuple[int, int]
    boxes: Floats
    cuboids: Floats
    classes: NDArray[np.str_]
    drives: NDArray[np.str_]

    @property
    def tested(self) -> NDArray[np.bool_]:
        """[N], whether the object is in a frame of the test drive."""
        tested: NDArray[np.bool_] = self.drives == TEST_DRIVE
        return tested

    @property
    def camera(self) -> Camera:
        return Camera(self.calibration.camera_matrix, self.size, CameraPose.level(CAMERA_HEIGHT_M))


def read_days(data: Path) -> tuple[dict[str, Labelled], dict[str, Labelled], dict[str, Labelled]]:
    """The objects of all label files with a class of known size, by day; the day of each frame, and of each that is not
    of the test drive.
    """
    drives: dict[str, tuple[str, str]] = {}
    with lzma.open(data / "kitti_split" / "object_frame_to_drive.tsv.xz", "rt") as table:
        for line in table:
            frame, day, drive, *_ = line.split()
            drives[frame] = day, drive
    objects = data / "kitti" / "object"
    samples = {drives[path.stem][0]: path for path in sorted((objects / "calib").glob("*.txt"))}
    with tempfile.TemporaryDirectory() as scratch:
        truths = read_kitti_labels(unpack(data / "kitti_split" / "label_2_all.tar.xz", Path(scratch)))
    days = {}
    for day, sample in sorted(samples.items()):
        frames = [frame for name, frame in truths.frames.items() if drives[name][0] == day]
        shown = np.repeat([drives[frame.frame][1] for frame in frames], [len(frame.truths) for frame in frames])
        labelled = Truths.concatenate(frame.truths for frame in frames)
        known = np.isin(labelled.categories, CLASSES)
        size = image_size(next((objects / "image_2").glob(f"{sample.stem}.*")))
        calibration = read_kitti_calibration(sample, "P2")
        boxes, cuboids, types = labelled.boxes[known], labelled.cuboids[known], labelled.categories[known]
        days[day] = Labelled(calibration, size, boxes, cuboids, types, shown[known])
    of_frame = {frame: days[day] for frame, (day, _) in drives.items() if day in days}
    return days, of_frame, {frame: day for frame, day in of_frame.items() if drives[frame][1] != TEST_DRIVE}


def fit_sizes(days: Sequence[Labelled]) -> dict[str, ClassSize]:
    """Class sizes from all drives but the test drive. Spreads are half of the central 68 %."""
    cuboids = np.concatenate([day.cuboids[~day.tested] for day in days])
    classes = np.concatenate([day.classes[~day.tested] for day in days])
    shape = np.concatenate([(sides := day.boxes[:, 2:] - day.boxes[:, :2])[:, 0] / sides[:, 1] for day in days])
    inside = np.concatenate([_inside(day) for day in days])
    tested = np.concatenate([day.tested for day in days])
    shift = np.concatenate([_shifts(day) for day in days])
    shape, inside, shift = shape[~tested], inside[~tested], shift[~tested]
    height, width, length = cuboids[:, :3].T
    reach = _reaches(cuboids)
    sizes = {}
    for name in CLASSES:
        of = classes == name
        whole = of & inside
        line = np.stack([np.ones(whole.sum()), shape[whole]], 1)
        fitted, *_ = np.linalg.lstsq(line, reach[whole], rcond=None)
        sizes[name.replace("_", " ").lower()] = ClassSize(
            round(float(np.median(length[of])), 2),
            round(float(np.median(width[of])), 2),
            round(float(np.median(height[of])), 3),
            round(_spread(height[of]), 3),
            (round(float(fitted[0]), 2), round(float(fitted[1]), 2)),
            round(_spread(reach[whole] - line @ fitted), 2),
            round(_spread(shift[whole], 0.9545) / 2, 2),
        )
    return sizes


def fit_spread(days: Sequence[Labelled]) -> tuple[float, float, float]:
    """Standard deviations of camera height (m), pitch and roll (rad) that explain where the labels' objects stand.

    The squared spread of an object's height against the plane is that of the camera's height, plus that of the pitch
    times the squared depth, plus that of the roll times the squared offset; in cells of depth and offset.
    """
    places = np.concatenate([day.cuboids[~day.tested, 3:6] for day in days])
    x, y, z = places[(places[:, 2] > 0) & (places[:, 2] < 60)].T
    cell = np.floor(z / 5) * 100 + np.floor(np.abs(x) / 3)
    rows, spreads, counts = [], [], []
    for each in np.unique(cell):
        of = cell == each
        if of.sum() >= 50:
            rows.append([1.0, (z[of] ** 2).mean(), (x[of] ** 2).mean()])
            # About the plane, not about the cell's own median.
            spreads.append(np.quantile(np.abs(y[of] - CAMERA_HEIGHT_M), 0.6827) ** 2)
            counts.append(of.sum())
    weight = np.sqrt(counts) / np.array(spreads)  # errors of a variance grow with it
    solution, *_ = np.linalg.lstsq(np.array(rows) * weight[:, None], np.array(spreads) * weight, rcond=None)
    height, pitch, roll = np.sqrt(solution)
    return float(height), float(pitch), float(roll)


def place_true_boxes(days: Sequence[Labelled]) -> list[Placed]:
    """The labelled boxes of all days, each with a place."""
    parts = []
    for day in days:
        names = np.char.lower(np.char.replace(day.classes, "_", " "))
        sigmas = np.full((len(names), 4), TRUE_BOX_SIGMA_PX)
        truth = true_places(day.cuboids, day.calibration, day.camera.pose)
        parts.append(Placed.of(day.camera, day.boxes, sigmas, names, truth))
    return parts


def coverage_by_drive(days: Sequence[Labelled], parts: Sequence[Placed]) -> list[float]:
    """Share of the ranges within 1 sigma, of each drive with enough places up to `NEAR_M`."""
    shares = []
    for day, part in zip(days, parts, strict=True):
        for drive in np.unique(day.drives):
            figures = position_result([part[day.drives == drive]]).near
            if figures.range_covered is not None and figures.placed >= LEAST_PLACES:
                shares.append(figures.range_covered[0])
    return shares


def place_found_boxes(detector: Detector, folder: Path, images: str, days: Mapping[str, Labelled]) -> list[Placed]:
    """The detections in a folder with label_2 and images, frame by frame.

    Args:
        days: by stem of the frame, or by "" for all others; frames without a day are left out.
    """
    parts = []
    labels = read_kitti_labels(folder / "label_2").frames
    for path in track(image_files(folder / images), f"detect in {folder.name}", console=Console(stderr=True)):
        day = days.get(path.stem) or days.get("")
        if day is None:
            continue
        record = FramePredictions(path.name, detector(read_image(path)), detector.card.classes)
        paired = pair(GroundTruth.of([labels[path.stem]]), [record])
        if np.isfinite(paired.truths.cuboids).any():
            parts.append(place_detections(paired, day.camera, day.calibration))
    return parts


def _inside(day: Labelled) -> NDArray[np.bool_]:
    """[N], whether the image shows the whole object, and its size is labelled."""
    height, width = day.size
    x1, y1, x2, y2 = day.boxes.T
    return (x1 > 1) & (y1 > 1) & (x2 < width - 2) & (y2 < height - 2) & (day.cuboids[:, 5] > 1)


def _reaches(cuboids: Floats) -> Floats:
    """[N], m ahead from the nearest edge of a 3-D box to its centre."""
    _, width, length, *_, turn = cuboids.T
    reaches: Floats = np.abs(length / 2 * np.sin(turn)) + np.abs(width / 2 * np.cos(turn))
    return reaches


def _shifts(day: Labelled) -> Floats:
    """[N], m from the middle of the box to the object's centre, sideways, if its depth and reach are known."""
    in_camera = day.cuboids[:, 3:6] + np.linalg.solve(day.calibration.camera_matrix, day.calibration.projection[:, 3])
    matrix = day.calibration.camera_matrix
    left, right = ((day.boxes[:, edge] - matrix[0, 2]) / matrix[0, 0] for edge in (0, 2))
    reach = _reaches(day.cuboids)
    near, far = in_camera[:, 2] - reach, in_camera[:, 2] + reach
    middle = (left * np.where(left < 0, near, far) + right * np.where(right > 0, near, far)) / 2
    shifts: Floats = in_camera[:, 0] - middle
    return shifts


def _spread(values: Floats, share: float = 0.6827) -> float:
    """Half of the width of the interval that holds the central share of the values."""
    low, high = np.quantile(values, ((1 - share) / 2, (1 + share) / 2))
    return float(high - low) / 2


def time_objects(camera: Camera) -> tuple[float, float]:
    """Time to follow 100 objects, and to place them and filter their motion, ms of a core; in the quickest tenth of the
    frames, because other work on the machine slows the rest.
    """
    rng = np.random.default_rng(0)
    low, sides = rng.uniform((50, 150), (1000, 180), (100, 2)), rng.uniform(20, 150, (100, 2))
    speeds, class_ids = rng.normal(0, 30, (100, 2)), rng.integers(0, 3, 100).astype(np.int32)
    tracker, locator, ground = Tracker(CLASS_NAMES), Locator(camera, CLASS_NAMES), GroundTracks()
    times = []
    for step in range(ROUNDS):
        moved = low + speeds * step / ROUNDS + rng.normal(0, 0.5, (100, 2))
        boxes = np.concatenate([moved, moved + sides], 1).astype(np.float32)
        scores = rng.uniform(0.3, 0.9, 100).astype(np.float32)
        found = Detections(boxes, scores, class_ids, np.full((100, 4), 2, np.float32))
        started = thread_time()  # of this thread alone, because other programs run, too
        tracks = tracker.update(found, step / 10)
        followed = thread_time()
        seen = ~tracks.coasting
        ground.update(step / 10, tracks.ids[seen], locator(found[tracks.rows[seen]]))
        times.append((followed - started, thread_time() - followed))
    track_ms, place_ms = 1e3 * np.quantile(times[ROUNDS // 10 :], 0.1, axis=0)
    return float(track_ms), float(place_ms)


def report(
    results: Mapping[str, PositionResult],
    drives: Sequence[float],
    pose: CameraPose,
    ms: tuple[float, float],
    runtime: str,
) -> str:
    """The page; `drives` are from `coverage_by_drive`, `ms` are from `time_objects`."""
    low, high = np.quantile(drives, (0.1, 0.9))
    lines = [
        "# Places on the road",
        "",
        DESCRIPTION,
        "",
        f"The camera is taken to be level, {CAMERA_HEIGHT_M:g} m above a plane; the node takes its pose from "
        "parameters or from TF. Standard deviations of the pose, for both: "
        f"height {pose.height_sigma:g} m, pitch {1e3 * pose.pitch_sigma:g} mrad, roll {1e3 * pose.roll_sigma:g} mrad. "
        "Pose and class sizes are fitted to KITTI's label files of other drives than 0011 (`--fit`). Every label file "
        "has the calibration of its day.",
        "",
        "Drive 0011 shows only five cars within 40 m, and two of them, 1.43 and 1.45 m high, make up most of its rows. "
        "So its bias and coverage say more about these two than about the method: by the true boxes, the share of "
        f"ranges within 1 sigma is {100 * low:.0f} to {100 * high:.0f} % in eight of ten drives ({len(drives)} drives "
        f"with {LEAST_PLACES} places or more). On the frames of other drives, below, the sigmas cover what they say.",
        "",
        f"A frame with 100 objects takes {ms[0]:.2f} ms of a core to follow them and {ms[1]:.2f} ms to place them and "
        f"filter their motion, together {sum(ms):.2f} ms, in the quickest tenth of the frames. {machine()}, {runtime}. "
        "By `python benchmarks/positions.py`.",
        "",
    ]
    for title, result in results.items():
        lines += [f"## {title}", "", "| | " + " | ".join(HEADINGS) + " |", "|---|" + "---|" * len(HEADINGS)]
        lines += [" | ".join([f"| {name}", *cells(figures)]) + " |" for name, figures in result.rows.items()]
        lines += ["", f"{state_line(result).capitalize()}.", ""]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with kitti/ and kitti_split/")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--runtime", default="auto")
    parser.add_argument("--fit", action="store_true", help="print class sizes and spreads instead")
    parser.add_argument("--report", type=Path, help="folder that positions.md is written to")
    arguments = parser.parse_args()
    days, of_frame, of_other_drives = read_days(arguments.data)
    if arguments.fit:
        for name, size in fit_sizes(list(days.values())).items():
            print(f'    "{name}": {size},')
        spread = fit_spread(list(days.values()))
        print("height_sigma {:.3f} m, pitch_sigma {:.4f} rad, roll_sigma {:.4f} rad".format(*spread))
        return
    options = RuntimeOptions(input_size=CANVAS, precision="fp32")
    kitti = arguments.data / "kitti"
    test_day = next(day for day in days.values() if day.tested.any())
    ms = time_objects(test_day.camera)  # before the threads of a runtime disturb it
    with Detector.open(arguments.model, arguments.runtime, options=options, score_threshold=LEAST_SCORE) as detector:
        found = place_found_boxes(detector, kitti / "drive_0011", "image", {"": test_day})
        extra = place_found_boxes(detector, kitti / "object_extra", "image_2", of_frame)
        single = place_found_boxes(detector, kitti / "object", "image_2", of_other_drives)
        described = f"{detector.card.name}, {show_size(CANVAS)} px, scores from {LEAST_SCORE:g}"
        runtime = detector.runtime.description
    true = place_true_boxes(list(days.values()))
    drives = coverage_by_drive(list(days.values()), true)
    sections = {
        "True boxes of all label files": true,
        f"Detections on drive 0011 ({described})": found,
        f"Detections on the 20 frames of object_extra ({described})": extra,
        f"Detections on the frames of object that are not of drive 0011 ({described}; the detector knows them)": single,
    }
    results = {title: position_result(parts) for title, parts in sections.items()}
    text = report(results, drives, test_day.camera.pose, ms, runtime)
    print(text)
    if arguments.report:
        write_whole(arguments.report / "positions.md", text)


if __name__ == "__main__":
    main()
