"""Places of boxes that are projections of cuboids, their covariances, and what is reported instead of a place."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from factories import make_detections
from numpy.typing import NDArray

from gaussian_yolo_node.position.camera import Camera, CameraPose
from gaussian_yolo_node.position.class_sizes import ClassSize
from gaussian_yolo_node.position.locate import Locator, Positions, State

Floats = NDArray[np.float64]

SIZE = (375, 1242)
MATRIX = np.array([[720.0, 0.0, 610.0], [0.0, 720.0, 173.0], [0.0, 0.0, 1.0]])
HEIGHT = 1.65
# No spread in the sizes: a cuboid of exactly this size has exactly one place.
LOW = ClassSize(4.0, 1.6, 1.5, 0.0, (2.0, 0.0), 0.0, 0.0)
TALL = ClassSize(4.0, 1.6, 2.5, 0.0, (2.0, 0.0), 0.0, 0.0)
SIZES = {"low": LOW, "tall": TALL, "shaped": replace(LOW, reach=(2.4, -0.4))}
CLASSES = ("low", "tall", "shaped", "unheard of")


def camera_at(pitch: float = 0.0, roll: float = 0.0, **spreads: float) -> Camera:
    return Camera(MATRIX, SIZE, CameraPose.level(HEIGHT, pitch, roll, **spreads))


EXACT = camera_at(height_sigma=0.0, pitch_sigma=0.0, roll_sigma=0.0)


def project(camera: Camera, x: float, y: float, size: ClassSize) -> list[float]:
    """The box of a cuboid that is parallel to the base frame, x1 y1 x2 y2 in px."""
    corners = np.array(
        [
            (x + a * size.length / 2, y + b * size.width / 2, c * size.height)
            for a in (-1, 1)
            for b in (-1, 1)
            for c in (0, 1)
        ]
    )
    seen = (corners - camera.pose.translation) @ camera.pose.rotation @ camera.matrix.T
    pixels = seen[:, :2] / seen[:, 2:]
    return [*pixels.min(0).tolist(), *pixels.max(0).tolist()]


def locate(camera: Camera, box: list[float], class_id: int = 0, sigma: float = 0.0, **more: float) -> Positions:
    readings = (np.array([more["depth"]]), np.array([more["depth_sigma"]])) if more else None
    return Locator(camera, CLASSES, SIZES).locate(
        np.array([box], float), np.full((1, 4), sigma), np.array([class_id], np.int32), readings
    )


@pytest.mark.parametrize("name", ["low", "tall"])
@pytest.mark.parametrize(("x", "y"), [(12.0, 0.0), (20.0, 0.5), (15.0, 4.0), (30.0, -9.0), (60.0, 12.0)])
def test_all_witnesses_find_a_cuboid_where_it_is(name: str, x: float, y: float) -> None:
    box = project(EXACT, x, y, SIZES[name])
    found = locate(EXACT, box, CLASSES.index(name), depth=x - 2.0, depth_sigma=0.5)
    assert found.states[0] == 0
    for places in (found, *found.witnesses.values()):
        np.testing.assert_allclose(places.xy, [(x, y)], atol=1e-6)
    assert set(found.witnesses) == {"lower edge", "height", "depth image"}


@pytest.mark.parametrize(("pitch", "roll"), [(0.1, 0.0), (-0.05, 0.0)])
def test_a_tilted_camera_finds_the_same_depth(pitch: float, roll: float) -> None:
    camera = camera_at(pitch, roll)
    found = locate(camera, project(camera, 25.0, 0.0, TALL), 1)
    for name in ("lower edge", "height"):
        np.testing.assert_allclose(found.witnesses[name].xy, [(25.0, 0.0)], atol=0.1)


def test_the_base_frame_may_be_anywhere_above_the_ground() -> None:
    turn = cv2.Rodrigues(np.array([0.0, 0.0, 0.3]))[0]
    pose = CameraPose(turn @ EXACT.pose.rotation, np.array([1.5, -0.4, HEIGHT]))
    box = project(EXACT, 20.0, 3.0, LOW)
    here, there = locate(camera_at(), box, sigma=1.0), locate(Camera(MATRIX, SIZE, pose), box, sigma=1.0)
    np.testing.assert_allclose(there.xy[0], turn[:2, :2] @ here.xy[0] + (1.5, -0.4))
    np.testing.assert_allclose(there.covariance[0], turn[:2, :2] @ here.covariance[0] @ turn[:2, :2].T)
    np.testing.assert_allclose(there.lasting[0], turn[:2, :2] @ here.lasting[0] @ turn[:2, :2].T)


BOX = project(EXACT, 20.0, 3.0, LOW)


@pytest.mark.parametrize(
    ("box", "class_id", "state", "placed", "speaking"),
    [
        (BOX, 0, State(0), True, {"lower edge", "height"}),
        (BOX, 3, State.UNKNOWN_CLASS, False, set()),
        ([400.0, 150.0, 460.0, 374.5], 0, State.CUT_BELOW, False, set()),
        ([BOX[0], 0.5, BOX[2], BOX[3]], 0, State.CUT_ABOVE, True, {"lower edge"}),
        ([0.0, BOX[1], 110.0, BOX[3]], 0, State.CUT_SIDE, False, set()),
        ([1200.0, BOX[1], 1241.0, BOX[3]], 0, State.CUT_SIDE, False, set()),
        ([600.0, 160.0, 609.0, 172.0], 0, State.HORIZON, True, {"height"}),  # far; the height says how far
        ([600.0, 160.0, 609.0, 173.0], 0, State.HORIZON, True, {"height"}),  # at the horizon itself
        ([600.0, 0.0, 650.0, 150.0], 0, State.HORIZON | State.CUT_ABOVE | State.FAR, False, set()),
        ([500.0, 100.0, 700.0, 170.0], 0, State.HORIZON | State.APART, False, {"height"}),  # near, but on a bridge
        ([500.0, 150.0, 700.0, 300.0], 0, State.APART, False, {"lower edge", "height"}),  # a toy, near
        ([600.0, 174.0, 600.0, 174.0], 0, State.FAR, False, set()),  # no box at all
    ],
)
def test_states(box: list[float], class_id: int, state: State, placed: bool, speaking: set[str]) -> None:
    sizes = {"low": replace(LOW, height_sigma=0.1)}
    found = Locator(camera_at(), ("low", "", "", "unheard of"), sizes).locate(
        np.array([box]), np.full((1, 4), 0.5), np.array([class_id], np.int32)
    )
    assert State(int(found.states[0])) == state
    assert found.known.tolist() == [placed]
    assert np.isfinite(found.covariance).all() == placed == np.isfinite(found.lasting).all()
    assert {name for name, places in found.witnesses.items() if places.known[0]} == speaking
    assert len(state.sentences) == int(state).bit_count()


@pytest.mark.parametrize(
    ("depth", "state"),
    [(18.0, State(0)), (np.nan, State.NO_DEPTH), (9.0, State.APART), (18.3, State(0))],
)
def test_the_depth_image_is_a_third_witness(depth: float, state: State) -> None:
    camera = camera_at()
    without, found = locate(camera, BOX, sigma=1.0), locate(camera, BOX, sigma=1.0, depth=depth, depth_sigma=0.2)
    assert State(int(found.states[0])) == state
    if state == 0:
        assert np.linalg.det(found.covariance[0]) < np.linalg.det(without.covariance[0])
        assert found.xy[0, 0] == pytest.approx(depth + 2, abs=0.25)
    if state == State.NO_DEPTH:
        np.testing.assert_allclose(found.xy, without.xy)


def test_depth_alone_places_a_box_that_is_cut_below() -> None:
    found = locate(camera_at(), [500.0, 100.0, 700.0, 375.0], sigma=1.0, depth=5.0, depth_sigma=0.1)
    assert State(int(found.states[0])) == State.CUT_BELOW
    assert found.xy[0, 0] == pytest.approx(7.0) and not found.witnesses["height"].known[0]


def test_no_detection_and_no_sigma() -> None:
    locator = Locator(camera_at(), CLASSES, SIZES)
    nothing = locator(make_detections())
    assert nothing.xy.shape == (0, 2) and nothing.covariance.shape == (0, 2, 2)
    assert locator(make_detections(), np.ones(SIZE, np.float32)).xy.shape == (0, 2)
    certain = Locator(EXACT, CLASSES, SIZES)(make_detections([BOX], sigmas=0.0))
    np.testing.assert_allclose(certain.covariance, 0, atol=1e-12)
    np.testing.assert_allclose(certain.xy, [(20.0, 3.0)], atol=1e-3)  # boxes are float32


def test_many_boxes_are_placed_as_each_alone() -> None:
    rng = np.random.default_rng(1)
    low = rng.uniform((-20, 100), (1200, 200), (300, 2))
    boxes = np.concatenate([low, low + rng.uniform(1, 200, (300, 2))], 1)
    sigmas, ids = rng.uniform(0, 8, (300, 4)), rng.integers(0, 4, 300).astype(np.int32)
    depth = rng.uniform(2, 60, 300), rng.uniform(0.01, 2, 300)
    locator = Locator(camera_at(0.02, -0.01), CLASSES, SIZES)
    together = locator.locate(boxes, sigmas, ids, depth)
    for row in range(300):
        of = slice(row, row + 1)
        alone = locator.locate(boxes[of], sigmas[of], ids[of], (depth[0][of], depth[1][of]))
        np.testing.assert_allclose(alone.xy[0], together.xy[row], rtol=1e-9)
        assert alone.states[0] == together.states[row]
    known = together.known
    assert 20 < known.sum() < 300
    for part in (together.covariance[known], together.lasting[known], (together.covariance - together.lasting)[known]):
        assert (np.linalg.eigvalsh(part) > -1e-9).all()


@pytest.mark.parametrize("column", range(4))
def test_a_sigma_that_is_no_number_gives_no_place(column: int) -> None:
    sigmas = np.ones((2, 4))
    sigmas[0, column] = np.nan
    found = Locator(camera_at(), CLASSES, SIZES).locate(np.array([BOX, BOX]), sigmas, np.zeros(2, np.int32))
    assert found.known.tolist() == [False, True] and found.states[0] == State.FAR
    assert np.isnan(found.covariance[0]).all() and np.isfinite(found.covariance[1]).all()


def perturbed(camera: Camera, height: float, pitch: float, roll: float) -> Camera:
    """The camera, lifted and turned about its own horizontal axes."""
    ahead, left = np.append(camera.pose.axes[:, 0], 0), np.append(camera.pose.axes[:, 1], 0)
    turn = cv2.Rodrigues(pitch * left + roll * ahead)[0]
    pose = replace(
        camera.pose,
        rotation=turn @ camera.pose.rotation,
        translation=camera.pose.translation + np.array([0, 0, height]),
    )
    moved = replace(camera, pose=pose)
    # Ahead is a direction of the ground that the nominal pose defines; it does not move with an error of the pose.
    moved.pose.__dict__["axes"] = camera.pose.axes
    return moved


INPUT_SIGMAS = np.array([1.5, 1.0, 2.0, 1.2, 0.05, 0.004, 0.01, 0.08, 0.2, 0.1, 0.4])
SPREAD_CAMERA = {"height_sigma": 0.05, "pitch_sigma": 0.004, "roll_sigma": 0.01}


def place_with(errors: Floats, camera: Camera, box: list[float], size: ClassSize, depth: float | None) -> Positions:
    """The position if each of the eleven inputs is off by an error."""
    corners = np.array(box)
    corners += (
        errors[0] - errors[2] / 2,
        errors[1] - errors[3] / 2,
        errors[0] + errors[2] / 2,
        errors[1] + errors[3] / 2,
    )
    other = replace(
        size,
        height=size.height + errors[7],
        reach=(size.reach[0] + errors[8], size.reach[1]),
        height_sigma=INPUT_SIGMAS[7],
        reach_sigma=INPUT_SIGMAS[8],
        shift_sigma=INPUT_SIGMAS[9],
    )
    reading = None if depth is None else (np.array([depth + errors[10]]), np.array([INPUT_SIGMAS[10]]))
    locator = Locator(perturbed(camera, *errors[4:7]), ("any",), {"any": other})
    return locator.locate(corners[None], INPUT_SIGMAS[None, :4], np.zeros(1, np.int32), reading)


CASES = [
    pytest.param(0.0, 0.0, (20.0, 3.0), SIZES["shaped"], id="level, seen from above"),
    pytest.param(0.06, 0.03, (15.0, -4.0), SIZES["shaped"], id="tilted, on the right"),
    pytest.param(-0.02, -0.02, (18.0, 0.3), replace(TALL, reach=(2.0, -0.4)), id="taller than the camera, ahead"),
]


@pytest.mark.parametrize(("pitch", "roll", "at", "size"), CASES)
@pytest.mark.parametrize("witness", ["lower edge", "height", "depth image"])
def test_jacobians_are_those_of_numeric_differences(
    pitch: float, roll: float, at: tuple[float, float], size: ClassSize, witness: str
) -> None:
    camera = camera_at(pitch, roll, **SPREAD_CAMERA)
    box = project(camera, *at, size)
    step = 1e-5
    columns = []
    for number in range(11):
        errors = np.zeros(11)
        errors[number] = step
        high, low = (place_with(sign * errors, camera, box, size, at[0] - 2).witnesses[witness].xy for sign in (1, -1))
        columns.append((high - low)[0] / (2 * step))
    jacobian = np.array(columns).T
    jacobian[:, 9] = camera.pose.axes[:, 1]  # a shift is sideways by definition
    expected = jacobian @ np.diag(INPUT_SIGMAS**2) @ jacobian.T
    found = place_with(np.zeros(11), camera, box, size, at[0] - 2).witnesses[witness]
    np.testing.assert_allclose(found.covariance[0], expected, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize(("pitch", "roll", "at", "size"), CASES)
def test_covariance_of_the_fused_place_is_that_of_random_errors(
    pitch: float, roll: float, at: tuple[float, float], size: ClassSize
) -> None:
    camera = camera_at(pitch, roll, **SPREAD_CAMERA)
    box = project(camera, *at, size)
    # A depth that agrees with the others: the delta method takes the weights as given.
    agreed = place_with(np.zeros(11), camera, box, size, None)
    depth = float(agreed.xy[0, 0] - agreed.reach[0])
    rng = np.random.default_rng(0)
    share = 0.2  # of the errors, so that the linear part is what is compared
    errors = rng.normal(0, share * INPUT_SIGMAS, (1500, 11))
    places = np.array([place_with(each, camera, box, size, depth).xy[0] for each in errors])
    places += errors[:, 9:10] * camera.pose.axes[:, 1]
    found = place_with(np.zeros(11), camera, box, size, depth)
    expected = share**2 * found.covariance[0]
    scale = np.sqrt(np.diag(expected))
    np.testing.assert_allclose(np.cov(places.T) / np.outer(scale, scale), expected / np.outer(scale, scale), atol=0.12)


def test_the_lasting_part_is_that_of_class_and_pose() -> None:
    camera = camera_at()
    quiet = locate(camera, BOX, sigma=0.0)
    np.testing.assert_allclose(quiet.lasting, quiet.covariance)
    sizes = {"low": LOW}
    noisy = Locator(EXACT, ("low",), sizes).locate(np.array([BOX]), np.ones((1, 4)), np.zeros(1, np.int32))
    np.testing.assert_allclose(noisy.lasting, 0, atol=1e-15)


def test_fusing_is_at_least_as_good_as_each_witness() -> None:
    sizes = {"low": replace(LOW, height_sigma=0.1, reach_sigma=0.3)}
    locator = Locator(camera_at(), ("low",), sizes)
    boxes = np.array([project(EXACT, x, 1.0, LOW) for x in (10.0, 20.0, 40.0, 60.0)])
    found = locator.locate(boxes, np.full((4, 4), 1.0), np.zeros(4, np.int32))
    for places in found.witnesses.values():
        where = places.known
        assert (found.covariance[where, 0, 0] <= places.covariance[where, 0, 0] * (1 + 1e-9)).all()
    assert (np.diff(found.covariance[:, 0, 0]) > 0).all()  # farther is less certain
