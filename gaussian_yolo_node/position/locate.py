"""Places of detections on the ground, with covariances by the delta method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntFlag

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.detector.detections import Detections, corners_to_centres
from gaussian_yolo_node.position import witnesses
from gaussian_yolo_node.position.camera import Camera
from gaussian_yolo_node.position.class_sizes import CLASS_SIZES, ClassSize, size_table
from gaussian_yolo_node.position.depth_image import read_depths
from gaussian_yolo_node.position.witnesses import (
    Inverse,
    Rays,
    box_rays,
    by_depth,
    by_height,
    by_lower_edge,
    place,
    reach_of,
)

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

WITNESSES = ("lower edge", "height", "depth image")
# Two witnesses contradict each other if they are farther apart than this many standard deviations of their difference.
GATE_SIGMAS = 3.0
# A place is given if infinity is more than this many standard deviations away, in inverse depth.
_FINITE_SIGMAS = 2.0
# Of a difference of inverse depths, 1/m^2: rounding is no contradiction, even if nothing is uncertain. 1 cm at 100 m.
_LEAST_VARIANCE = 1e-12
# A box this near to the image border is cut by it: this many px, and this many standard deviations of its edge.
_BORDER_PX = 2.0
_BORDER_SIGMAS = 1.0
# Inputs whose errors stay with an object from frame to frame; those of box and depth image are new in each.
_LASTING = slice(witnesses.CAMERA_HEIGHT, witnesses.SHIFT + 1)


class State(IntFlag):
    """What is wrong with a place; several may be true. 0: nothing."""

    HORIZON = 1
    CUT_BELOW = 2
    CUT_ABOVE = 4
    CUT_SIDE = 8
    UNKNOWN_CLASS = 16
    NO_DEPTH = 32
    APART = 64
    FAR = 128

    @property
    def sentences(self) -> tuple[str, ...]:
        """One sentence for each."""
        return tuple(_SENTENCES[flag] for flag in State if flag in self)


_SENTENCES = {
    State.HORIZON: "the lower edge is at or above the horizon: it has no place on the ground",
    State.CUT_BELOW: "the image cuts the box below: neither its lower edge nor its height is the object's",
    State.CUT_ABOVE: "the image cuts the box above: its height is not the object's",
    State.CUT_SIDE: "the image cuts the box at the side: its middle is not the object's",
    State.UNKNOWN_CLASS: "no size is known for the class",
    State.NO_DEPTH: "the depth image has too few values in the box",
    State.APART: f"two witnesses are more than {GATE_SIGMAS:g} standard deviations apart",
    State.FAR: f"within {_FINITE_SIGMAS:g} standard deviations, the object may be infinitely far away",
}

# As plain integers, which are ten times faster on arrays.
_HORIZON, _UNKNOWN_CLASS, _NO_DEPTH = int(State.HORIZON), int(State.UNKNOWN_CLASS), int(State.NO_DEPTH)
_APART, _FAR = int(State.APART), int(State.FAR)
_NOWHERE = State.CUT_SIDE | State.UNKNOWN_CLASS
# States in which each of the witnesses has nothing to say.
_BARRED = (
    int(_NOWHERE | State.CUT_BELOW),
    int(_NOWHERE | State.CUT_BELOW | State.CUT_ABOVE),
    int(_NOWHERE | State.NO_DEPTH),
)


@dataclass(frozen=True, eq=False)
class Places:
    """Centres of N footprints on the ground.

    Attributes:
        xy: float64 [N, 2] in the base frame, m; NaN where unknown.
        covariance: float64 [N, 2, 2], m^2; NaN where unknown.
    """

    xy: Floats
    covariance: Floats

    @property
    def known(self) -> Mask:
        """[N], whether there is a place."""
        return np.isfinite(self.xy[:, 0])


@dataclass(frozen=True, eq=False)
class Positions(Places):
    """Places of N detections, from all witnesses together.

    Errors of the pose are common to all objects of a frame; the covariance is of each object alone.

    Attributes:
        lasting: float64 [N, 2, 2], m^2: the part of the covariance that stays with an object from frame to frame, from
            its class's size and the camera's pose. A filter must not average it away.
        reach: float64 [N], m from the nearest edge to the centre.
        states: int64 [N], `State` flags.
        witnesses: what each of `WITNESSES` says alone; the depth image only if there was one.
    """

    lasting: Floats
    reach: Floats
    states: NDArray[np.int64]
    witnesses: Mapping[str, Places]

    def __getitem__(self, rows: Mask | NDArray[np.intp] | slice) -> Positions:
        """The rows that a mask, an index array or a slice selects."""
        alone = {name: Places(of.xy[rows], of.covariance[rows]) for name, of in self.witnesses.items()}
        return Positions(
            self.xy[rows], self.covariance[rows], self.lasting[rows], self.reach[rows], self.states[rows], alone
        )


class Locator:
    """Places detections of one camera on the ground.

    The lower edge gives a depth, and so does the height of the box with that of the class, and a depth image. They
    share the box, the pose and the class, so their weights are those of the best linear unbiased estimate of
    correlated values, of two at a time and kept within 0..1. The box's four sigmas are taken as independent of each
    other. The delta method is J diag(variances) J^T with the analytic Jacobians of `witnesses`.

    Args:
        camera: matrix and pose.
        classes: names of the detector's classes, in its order; those without an entry in `sizes` get no place.
        sizes: by class name.
    """

    def __init__(self, camera: Camera, classes: Sequence[str], sizes: Mapping[str, ClassSize] = CLASS_SIZES) -> None:
        self.camera = camera
        self._sizes = size_table(classes, sizes)
        pose = camera.pose
        self._pose_variances = np.square([pose.height_sigma, pose.pitch_sigma, pose.roll_sigma])[:, None]

    def __call__(
        self, detections: Detections, depth: NDArray[np.uint16] | NDArray[np.float32] | None = None
    ) -> Positions:
        """Place the detections of one frame.

        Args:
            detections: in px of the camera's image.
            depth: [H, W], uint16 in mm or float32 in m, 0 or not finite where unknown, registered to the camera's
                image; another resolution is scaled.

        Raises:
            PositionError: the depth image has another type.
        """
        boxes, sigmas = detections.boxes.astype(np.float64), detections.sigmas.astype(np.float64)
        readings = None if depth is None else read_depths(depth, boxes, self.camera.size)
        return self.locate(boxes, sigmas, detections.class_ids, readings)

    def locate(
        self,
        boxes: Floats,
        sigmas: Floats,
        class_ids: NDArray[np.int32],
        readings: tuple[Floats, Floats] | None = None,
    ) -> Positions:
        """Like a call, from arrays.

        Args:
            boxes, sigmas, class_ids: as those of `Detections`, in any precision.
            readings: depth [N] along the optical axis and its standard deviation, m; NaN where unknown.
        """
        class_height, height_sigma, intercept, slope, least, largest, reach_sigma, shift_sigma = self._sizes[
            :, class_ids
        ]
        depth, depth_sigma = np.full((2, len(boxes)), np.nan) if readings is None else readings
        variances = np.concatenate(
            [
                np.square(sigmas.T),
                np.broadcast_to(self._pose_variances, (3, len(boxes))),
                np.square([height_sigma, reach_sigma, shift_sigma, np.nan_to_num(depth_sigma)]),
            ]
        )
        state = self._cuts(boxes, sigmas)
        state[np.isnan(class_height)] |= _UNKNOWN_CLASS
        if readings is not None:
            state[np.isnan(depth)] |= _NO_DEPTH
        box = corners_to_centres(self.camera.undistort(boxes)).T
        # What has no place divides by zero and becomes infinite or NaN on the way to NaN.
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            rays = box_rays(self.camera, box)
            reach = reach_of(box, (intercept, slope), (least, largest))
            statements = [by_lower_edge(self.camera, rays), by_height(self.camera, rays, class_height, *reach)]
            if readings is not None:
                statements.append(by_depth(self.camera, rays, depth))
            return self._place(rays, reach, statements, variances, state)

    def _place(
        self,
        rays: Rays,
        reach: tuple[Floats, Floats, Floats],
        statements: Sequence[Inverse],
        variances: Floats,
        state: NDArray[np.int64],
    ) -> Positions:
        """Positions from the statements of all witnesses."""
        state[statements[0].value <= 0] |= _HORIZON
        usable = _usable(statements, state)
        fused, apart = _fuse(statements, usable, variances)
        said = [fused, *statements]
        inverse = Inverse(np.stack([each.value for each in said]), np.stack([each.jacobian for each in said], axis=1))
        sigma = np.sqrt(np.einsum("ikn,ikn,in->kn", inverse.jacobian, inverse.jacobian, variances))
        finite = inverse.value > _FINITE_SIGMAS * sigma
        spoken = usable.any(0)
        state[apart] |= _APART
        state[spoken & ~finite[0]] |= _FAR
        known = np.concatenate([[spoken & ~apart], usable]) & finite

        ahead_left, jacobian = place(rays, inverse, *reach)
        axes, origin = self.camera.pose.axes, self.camera.pose.translation[:2]
        jacobian = _turned(axes, jacobian)
        xy = np.moveaxis(_turned(axes, ahead_left), 0, -1) + origin
        covariance = _covariance(jacobian, variances[:, None])
        lasting = _covariance(jacobian[:, _LASTING, 0], variances[_LASTING])
        xy[~known] = covariance[~known] = lasting[~known[0]] = np.nan
        alone = {name: Places(*each) for name, *each in zip(WITNESSES, xy[1:], covariance[1:], strict=False)}
        return Positions(xy[0], covariance[0], lasting, reach[0], state, alone)

    def _cuts(self, boxes: Floats, sigmas: Floats) -> NDArray[np.int64]:
        """[N], flags of boxes that the image border cuts."""
        height, width = self.camera.size
        margin = _BORDER_PX + _BORDER_SIGMAS * np.hypot(sigmas[:, :2], sigmas[:, 2:] / 2)
        low, high = boxes[:, :2] <= margin, boxes[:, 2:] >= np.array([width, height]) - margin
        state = np.where(low[:, 0] | high[:, 0], int(State.CUT_SIDE), 0)
        state |= np.where(low[:, 1], int(State.CUT_ABOVE), 0) | np.where(high[:, 1], int(State.CUT_BELOW), 0)
        return state.astype(np.int64)


def _usable(statements: Sequence[Inverse], state: NDArray[np.int64]) -> Mask:
    """[K, N], whether each witness may speak."""
    return np.stack(
        [(state & flags == 0) & np.isfinite(each.value) for each, flags in zip(statements, _BARRED, strict=False)]
    )


def _fuse(statements: Sequence[Inverse], usable: Mask, variances: Floats) -> tuple[Inverse, Mask]:
    """The statements as one, and where a witness contradicts those before it."""
    value, jacobian = _silenced(statements[0], usable[0])
    spoken, apart = usable[0], np.zeros(len(value), bool)
    for each, may in zip(statements[1:], usable[1:], strict=True):
        other, other_jacobian = _silenced(each, may)
        own_variance = (jacobian**2 * variances).sum(0)
        other_variance = (other_jacobian**2 * variances).sum(0)
        shared = (jacobian * other_jacobian * variances).sum(0)
        of_difference = np.maximum(own_variance + other_variance - 2 * shared, _LEAST_VARIANCE)
        both = spoken & may
        apart |= both & (np.abs(value - other) > GATE_SIGMAS * np.sqrt(of_difference))
        weight = np.where(both, np.clip((own_variance - shared) / of_difference, 0.0, 1.0), may)
        value = value + weight * (other - value)
        jacobian = jacobian + weight * (other_jacobian - jacobian)
        spoken = spoken | may
    return Inverse(value, jacobian), apart


def _silenced(statement: Inverse, may: Mask) -> tuple[Floats, Floats]:
    return np.where(may, statement.value, 0.0), np.where(may, statement.jacobian, 0.0)


def _turned(axes: Floats, ahead_left: Floats) -> Floats:
    """From ahead and left of the camera, [2, ...], to x and y of the base frame."""
    turned: Floats = (axes @ ahead_left.reshape(2, -1)).reshape(ahead_left.shape)
    return turned


def _covariance(jacobian: Floats, variances: Floats) -> Floats:
    """[..., N, 2, 2] from derivatives [2, inputs, ..., N] and variances that broadcast to [inputs, ..., N]."""
    ahead, left = jacobian
    weighted = ahead * variances
    covariance = np.empty((*jacobian.shape[2:], 2, 2))
    covariance[..., 0, 0] = (weighted * ahead).sum(0)
    covariance[..., 0, 1] = covariance[..., 1, 0] = (weighted * left).sum(0)
    covariance[..., 1, 1] = (left**2 * variances).sum(0)
    return covariance
