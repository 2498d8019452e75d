from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from factories import make_image

from gaussian_yolo_node.frames import rectification
from gaussian_yolo_node.frames.camera_calibration import Calibration
from gaussian_yolo_node.frames.rectification import CalibrationError, Rectifier, rectified, scaled

HEIGHT, WIDTH = 240, 320
MATRIX = np.array([[260.0, 0, 161], [0, 262.0, 118], [0, 0, 1]])
PROJECTION = np.array([[220.0, 0, 158, -22.0], [0, 221.0, 121, 0], [0, 0, 1, 0]])
TURN = cv2.Rodrigues(np.array([0.01, -0.02, 0.005]))[0]
BARREL = Calibration(MATRIX, np.array([-0.3, 0.08, 0.001, -0.002, 0]), TURN, PROJECTION, "plumb_bob", (HEIGHT, WIDTH))
FISHEYE = Calibration(MATRIX, np.array([-0.02, 0.01, 0.001, 0]), TURN, PROJECTION, "equidistant", (HEIGHT, WIDTH))
# Points in front of the rectified camera, at 1 m.
POINTS = np.array([[-0.3, -0.2, 1.0], [0.25, -0.15, 1], [0.0, 0.0, 1], [0.3, 0.2, 1], [-0.2, 0.25, 1]])


def dots(calibration: Calibration, size: tuple[int, int]) -> np.ndarray:
    """What the camera sees of bright dots at POINTS: through R to its own axes, then through its lens."""
    camera_axes = POINTS @ calibration.rectification
    project = cv2.projectPoints if calibration.distortion_model == "plumb_bob" else cv2.fisheye.projectPoints
    zero = np.zeros(3)
    arguments = (camera_axes.reshape(-1, 1, 3), zero, zero, calibration.camera_matrix, calibration.distortion)
    places = project(*arguments)[0].reshape(-1, 2)
    image = np.zeros((*size, 3), np.uint8)
    for x, y in places:
        cv2.circle(image, (round(x * 16), round(y * 16)), 3 * 16, (255, 255, 255), -1, cv2.LINE_AA, 4)
    return image


def centres(image: np.ndarray) -> np.ndarray:
    """Centres of the dots, px."""
    count, _, _, _ = cv2.connectedComponentsWithStats((image[:, :, 0] > 60).astype(np.uint8))
    assert count - 1 == len(POINTS)
    weights = image[:, :, 0].astype(float)
    labels = cv2.connectedComponents((image[:, :, 0] > 60).astype(np.uint8))[1]
    rows, columns = np.indices(weights.shape)
    found = [
        (
            np.average(columns, weights=weights * (labels == label)),
            np.average(rows, weights=weights * (labels == label)),
        )
        for label in range(1, count)
    ]
    return np.array(sorted(found))


@pytest.mark.parametrize("calibration", [BARREL, FISHEYE], ids=["plumb_bob", "equidistant"])
@pytest.mark.parametrize("factor", [1, 2])
def test_points_come_where_the_projection_has_them(calibration: Calibration, factor: int) -> None:
    size = (HEIGHT * factor, WIDTH * factor)
    fitting = scaled(calibration, size)
    image = Rectifier(calibration)(dots(fitting, size))
    assert image.shape == (*size, 3)
    in_pixels = POINTS @ rectified(fitting).camera_matrix.T
    np.testing.assert_allclose(centres(image), sorted((in_pixels[:, :2] / in_pixels[:, 2:]).tolist()), atol=0.3)


def test_a_rectified_camera_has_no_distortion_and_keeps_its_projection() -> None:
    camera = rectified(BARREL)
    np.testing.assert_array_equal(camera.distortion, np.zeros(5))
    np.testing.assert_array_equal(camera.rectification, np.eye(3))
    np.testing.assert_array_equal(camera.camera_matrix, PROJECTION[:, :3])
    np.testing.assert_array_equal(camera.projection, PROJECTION)
    image = make_image(HEIGHT, WIDTH)
    np.testing.assert_array_equal(Rectifier(camera)(image), image)  # rectifying twice changes nothing


def test_scaling_keeps_the_corners_of_the_picture() -> None:
    camera = scaled(BARREL, (HEIGHT // 2, WIDTH // 2))
    assert camera.size == (HEIGHT // 2, WIDTH // 2)
    corner = np.linalg.inv(MATRIX) @ (-0.5, -0.5, 1)  # the ray through the top left corner of the frame
    np.testing.assert_allclose(camera.camera_matrix @ corner, (-0.5, -0.5, 1))
    assert camera.projection[0, 3] == PROJECTION[0, 3] / 2
    assert scaled(BARREL, (HEIGHT, WIDTH)).camera_matrix is MATRIX


@pytest.mark.parametrize("size", [(HEIGHT, WIDTH + 8), (HEIGHT - 2, WIDTH), (WIDTH, HEIGHT)])
def test_frames_of_another_shape_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(CalibrationError, match=f"320x240 px, but frames have {size[1]}x{size[0]}: calibrate it"):
        scaled(BARREL, size)
    with pytest.raises(CalibrationError):
        Rectifier(BARREL)(make_image(*size))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"camera_matrix": np.zeros((3, 3))}, "focal length of 0"),
        ({"projection": np.zeros((3, 4))}, "focal length of 0"),
        ({"distortion_model": "thin_prism"}, "is 'thin_prism', but must be one of plumb_bob, rational_polynomial"),
        ({"distortion": np.zeros(3)}, "are 3 numbers, but plumb_bob has 0 or 4 or 5"),
        ({"distortion_model": "rational_polynomial"}, "are 5 numbers, but rational_polynomial has 8 or"),
    ],
)
def test_what_cannot_be_rectified_is_refused(change: dict[str, object], reason: str) -> None:
    with pytest.raises(CalibrationError, match=reason):
        Rectifier(replace(BARREL, **change))


def test_maps_are_computed_once_per_size(monkeypatch: pytest.MonkeyPatch) -> None:
    computed = []

    def count(calibration: Calibration) -> object:
        computed.append(calibration.size)
        return maps(calibration)

    maps = rectification._rectifying_maps
    monkeypatch.setattr(rectification, "_rectifying_maps", count)
    rectifier = Rectifier(BARREL)
    for factor in (1, 1, 1, 2, 2):
        rectifier(make_image(HEIGHT * factor, WIDTH * factor))
    assert computed == [(HEIGHT, WIDTH), (2 * HEIGHT, 2 * WIDTH)]
