"""Places on the ground against KITTI's 3-D boxes: errors of range and sideways, and how often sigma covers them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from gaussian_yolo_node.evaluation import LEAST_SCORE
from gaussian_yolo_node.evaluation.all_objects import COMMON_IOU, match_rows
from gaussian_yolo_node.evaluation.matching import Floats, overlaps
from gaussian_yolo_node.evaluation.paired import Mask, Paired
from gaussian_yolo_node.frames.camera_calibration import Calibration
from gaussian_yolo_node.labels.annotations import DatasetError
from gaussian_yolo_node.labels.labelled_frames import PlacedTracks, Truths
from gaussian_yolo_node.position.camera import Camera, CameraPose
from gaussian_yolo_node.position.locate import WITNESSES, Locator, Places, Positions, State

NEAR_M = 40.0  # range up to which the headline counts
BANDS_M = (0.0, 10.0, 20.0, 30.0, 40.0, 60.0)
DESCRIPTION = (
    "Centres of footprints against those of KITTI's 3-D boxes. Medians of the absolute error of the range (along the "
    "true line of sight from the camera, in % of it), of its signed error (bias), and of the error sideways (across "
    "the line of sight), with the shares of the errors within 1 and 2 sigma in % (a Gaussian: 68 / 95). Detections "
    f"match objects of their class at IoU {COMMON_IOU:g}."
)


@dataclass(frozen=True)
class PositionFigures:
    """Errors of some objects' places; None where no place is known.

    Attributes:
        range_error: median of the absolute error of the range over the true range.
        range_bias: median of the error of the range over the true range.
        range_covered: shares of the errors of the range within 1 and 2 sigma.
        sideways_error: median of the absolute error across the line of sight, m.
        sideways_covered: shares of those errors within 1 and 2 sigma.
    """

    objects: int
    placed: int
    range_error: float | None = None
    range_bias: float | None = None
    range_covered: tuple[float, float] | None = None
    sideways_error: float | None = None
    sideways_covered: tuple[float, float] | None = None


@dataclass(frozen=True)
class PositionResult:
    """Figures of one set of objects.

    Attributes:
        near: all objects up to 40 m.
        classes: by class, up to 40 m.
        bands: by range ("10-20 m").
        witnesses: each witness alone, up to 40 m.
        states: number of objects up to 40 m with each state.
    """

    near: PositionFigures
    classes: Mapping[str, PositionFigures]
    bands: Mapping[str, PositionFigures]
    witnesses: Mapping[str, PositionFigures]
    states: Mapping[str, int]

    @property
    def rows(self) -> dict[str, PositionFigures]:
        """All figures by name."""
        alone = {f"{name} alone": figures for name, figures in self.witnesses.items()}
        return {f"to {NEAR_M:g} m": self.near, **self.classes, **self.bands, **alone}

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"protocol": "position", "description": DESCRIPTION, **asdict(self)}


@dataclass(frozen=True, eq=False)
class Placed:
    """Places of N objects beside the true ones, both in the base frame.

    Attributes:
        positions: [N].
        truth: [N, 2], m.
        classes: N names.
    """

    positions: Positions
    truth: Floats
    classes: NDArray[np.str_]

    def __getitem__(self, rows: Mask) -> Placed:
        """The objects that a mask selects."""
        return Placed(self.positions[rows], self.truth[rows], self.classes[rows])

    @classmethod
    def joined(cls, parts: Sequence[Placed]) -> Placed:
        """The objects of all parts in turn, without what single witnesses say."""

        def of(field: str) -> Any:
            return np.concatenate([getattr(part.positions, field) for part in parts])

        positions = Positions(of("xy"), of("covariance"), of("lasting"), of("reach"), of("states"), {})
        truth, classes = (np.concatenate([getattr(part, name) for part in parts]) for name in ("truth", "classes"))
        return cls(positions, truth, classes)

    @classmethod
    def of(cls, camera: Camera, boxes: Floats, sigmas: Floats, classes: NDArray[np.str_], truth: Floats) -> Placed:
        """Place boxes [N, 4] with sigmas [N, 4] in px, of N class names; truth [N, 2] in the base frame, m."""
        names, ids = np.unique(classes, return_inverse=True)
        return cls(Locator(camera, names.tolist()).locate(boxes, sigmas, ids.astype(np.int32)), truth, classes)


def place_detections(
    paired: Paired, camera: Camera, calibration: Calibration, least_score: float = LEAST_SCORE
) -> Placed:
    """Place the detections that match an object with a 3-D box.

    Args:
        camera: of the detections.
        calibration: of the labels.

    Raises:
        DatasetError: no object has a 3-D box, or the predictions have no sigmas.
    """
    if not paired.has_sigmas:
        raise DatasetError("the position protocol needs predictions with sigmas, as `detect --json` writes")
    if not np.isfinite(paired.truths.cuboids).any():
        raise DatasetError("the position protocol needs KITTI labels with 3-D boxes (fields 9 to 15)")
    rows, objects = match_rows(paired, COMMON_IOU, least_score)
    cuboids = paired.truths.cuboids[objects]
    solid = np.isfinite(cuboids[:, 0])
    detections = paired.detections[rows[solid]]
    truth = true_places(cuboids[solid], calibration, camera.pose)
    return Placed.of(camera, detections.boxes, detections.sigmas, paired.detection_classes[rows[solid]], truth)


def true_places(cuboids: Floats, calibration: Calibration, pose: CameraPose) -> Floats:
    """Centres of the footprints of KITTI's 3-D boxes [N, 7] in the base frame, [N, 2] in m."""
    return (_in_camera(cuboids, calibration.projection) @ pose.rotation.T + pose.translation)[:, :2]


def _in_camera(cuboids: Floats, projection: Floats) -> Floats:
    """[N, 3], m; the projection's fourth column leads from KITTI's reference camera to this one."""
    return cuboids[:, 3:6] + np.linalg.solve(projection[:, :3], projection[:, 3])


def place_tracks(
    places: PlacedTracks, tracks: Truths, truths: Truths, classes: NDArray[np.str_], projection: Floats
) -> Placed:
    """The tracks of a frame whose boxes match an object of their class with a 3-D box at IoU 0.5, and their places.

    Args:
        places: of tracks, as a node published them; a track may have none.
        tracks: boxes with ids of the same frame.
        truths: the labelled objects, of M classes' names.
        projection: [3, 4], of the camera.
    """
    from gaussian_yolo_node.tracking.association import assign  # needs scipy

    iou = overlaps(tracks.boxes[:, np.newaxis], truths.boxes)
    iou[tracks.categories[:, np.newaxis] != classes] = 0
    iou[:, ~np.isfinite(truths.cuboids[:, 0])] = 0
    rows, objects = assign(1 - iou, 1 - COMMON_IOU)
    in_camera = _in_camera(truths.cuboids[objects], projection)
    row_of = {track: row for row, track in enumerate(places.tracks.tolist())}
    matches = np.array([row_of.get(track, -1) for track in tracks.tracks[rows].tolist()], np.intp)
    known, count = matches >= 0, len(matches)
    xy, covariances = np.full((count, 2), np.nan), np.full((count, 2, 2), np.nan)
    xy[known], covariances[known] = places.xy[matches[known]], places.covariances[matches[known]]
    nothing = np.zeros(count)
    positions = Positions(xy, covariances, np.zeros_like(covariances), nothing, nothing.astype(np.int64), {})
    return Placed(positions, (in_camera @ places.rotation.T)[:, :2], classes[objects])


def position_result(parts: Sequence[Placed]) -> PositionResult:
    """Figures of placed objects, from one or more recordings."""
    truth = np.concatenate([part.truth for part in parts])
    classes = np.concatenate([part.classes for part in parts])
    states = np.concatenate([part.positions.states for part in parts])
    together = _join([part.positions for part in parts])
    names = [name for name in WITNESSES if all(name in part.positions.witnesses for part in parts)]
    alone = {name: _join([part.positions.witnesses[name] for part in parts]) for name in names}
    distance = np.hypot(*truth.T)
    near = distance <= NEAR_M

    def figures(places: Places, of: Mask) -> PositionFigures:
        return position_figures(Places(places.xy[of], places.covariance[of]), truth[of])

    return PositionResult(
        figures(together, near),
        {str(name): figures(together, near & (classes == name)) for name in np.unique(classes[near])},
        {f"{a:g}-{b:g} m": figures(together, (distance > a) & (distance <= b)) for a, b in pairwise(BANDS_M)},
        {name: figures(places, near) for name, places in alone.items()},
        {str(flag.name).lower(): int((states[near] & int(flag) > 0).sum()) for flag in State},
    )


def _join(parts: Sequence[Places]) -> Places:
    return Places(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("xy", "covariance")))


def position_figures(places: Places, truth: Floats) -> PositionFigures:
    """Figures of N places [N, 2] against the true ones [N, 2], m from the camera."""
    if not places.known.any():
        return PositionFigures(len(truth), 0)
    distance, ahead, sideways = place_errors(places, truth)
    relative = ahead.metres / distance
    return PositionFigures(
        len(truth),
        len(distance),
        float(np.median(np.abs(relative))),
        float(np.median(relative)),
        (ahead.within(1), ahead.within(2)),
        float(np.median(np.abs(sideways.metres))),
        (sideways.within(1), sideways.within(2)),
    )


@dataclass(frozen=True, eq=False)
class Errors:
    """Errors of N places in one direction.

    Attributes:
        metres: [N], signed.
        sigmas: [N], standard deviations that the covariances give them, m.
    """

    metres: Floats
    sigmas: Floats

    def within(self, sigmas: float) -> float:
        """Share of the errors within this many standard deviations."""
        return float((np.abs(self.metres) <= sigmas * self.sigmas).mean())


def place_errors(places: Places, truth: Floats) -> tuple[Floats, Errors, Errors]:
    """True range in m, error along the line of sight and error across it, of those of the N places that are known, m
    from the camera."""
    known = places.known
    true = truth[known]
    distance = np.hypot(*true.T)
    ahead = true / distance[:, None]
    across = np.stack([-ahead[:, 1], ahead[:, 0]], 1)
    errors = places.xy[known] - true

    def along(direction: Floats) -> Errors:
        variance = np.einsum("ni,nij,nj->n", direction, places.covariance[known], direction)
        return Errors((errors * direction).sum(1), np.sqrt(np.maximum(variance, np.finfo(float).tiny)))

    return distance, along(ahead), along(across)


HEADINGS = ("objects", "placed", "range, %", "bias, %", "in 1/2 sigma", "sideways, m", "in 1/2 sigma")


def cells(figures: PositionFigures) -> tuple[str, ...]:
    """One text for each of `HEADINGS`."""
    return (
        str(figures.objects),
        str(figures.placed),
        _percent(figures.range_error),
        _percent(figures.range_bias),
        _shares(figures.range_covered),
        "-" if figures.sideways_error is None else f"{figures.sideways_error:.2f}",
        _shares(figures.sideways_covered),
    )


def position_table(result: PositionResult) -> Table:
    """All figures, one row each."""
    table = Table(title="protocol position")
    table.add_column("of")
    for heading in HEADINGS:
        table.add_column(heading, justify="right")
    for name, figures in result.rows.items():
        table.add_row(name, *cells(figures))
    return table


def state_line(result: PositionResult) -> str:
    """How many objects up to 40 m have which state."""
    counted = ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in result.states.items() if count)
    return f"states to {NEAR_M:g} m: {counted or 'none'}"


def _percent(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{100 * value:.1f}"


def _shares(values: tuple[float, float] | None) -> str:
    return "-" if values is None else " / ".join(f"{100 * value:.0f}" for value in values)
