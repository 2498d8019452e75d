from __future__ import annotations

import cv2
import numpy as np
import pytest
from factories import make_detections, make_image

from gaussian_yolo_node.detector.letterbox import PAD_VALUE, FrameError, Letterbox


@pytest.mark.parametrize(
    ("frame", "canvas", "scaled", "offset"),
    [
        ((93, 211), (96, 160), (70, 160), (0.0, 13.0)),  # 70.5 is truncated
        ((375, 1242), (256, 832), (251, 832), (0.0, 2.5)),  # half a pixel of offset
        ((1080, 1920), (256, 832), (256, 455), (188.5, 0.0)),  # padded left and right
        ((64, 96), (64, 96), (64, 96), (0.0, 0.0)),  # fits without scaling
        ((32, 48), (64, 96), (64, 96), (0.0, 0.0)),  # enlarged
        ((1, 1000), (64, 96), (1, 96), (0.0, 31.5)),  # never less than one row
        ((1, 1), (64, 96), (64, 64), (16.0, 0.0)),
    ],
)
def test_fits_the_frame_with_its_aspect(
    frame: tuple[int, int], canvas: tuple[int, int], scaled: tuple[int, int], offset: tuple[float, float]
) -> None:
    letterbox = Letterbox.fit(frame, canvas)

    assert letterbox.scaled_size == scaled
    assert letterbox.offset == offset


@pytest.mark.parametrize("frame", [(93, 211), (375, 1242), (1080, 1920), (1, 1000), (1, 1)])
def test_canvas_holds_the_resized_frame_on_grey(frame: tuple[int, int]) -> None:
    letterbox = Letterbox.fit(frame, (64, 96))
    image = make_image(*frame)
    height, width = letterbox.scaled_size
    top, left = int(letterbox.offset[1]), int(letterbox.offset[0])

    canvas = letterbox.to_canvas(image)

    inside = np.zeros((64, 96), bool)
    inside[top : top + height, left : left + width] = True
    resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(canvas[inside].reshape(height, width, 3), resized)
    assert (canvas[~inside] == PAD_VALUE).all()


def test_a_used_canvas_is_filled_in_place_and_completely() -> None:
    out = np.zeros((64, 96, 3), np.uint8)
    image = make_image(375, 1242)
    letterbox = Letterbox.fit((375, 1242), (64, 96))

    canvas = letterbox.to_canvas(image, out=out)

    assert canvas is out
    np.testing.assert_array_equal(out, letterbox.to_canvas(image))


@pytest.mark.parametrize(
    ("frame", "canvas"),
    [
        ((93, 211), (96, 160)),  # smaller
        ((20, 31), (64, 96)),  # larger
        ((64, 96), (64, 96)),  # same size
        ((375, 1242), (64, 96)),  # much smaller
        ((1, 1000), (64, 96)),  # one row stays one row
        ((1000, 1), (64, 96)),
        ((500, 2), (64, 96)),  # becomes one column
        ((1, 1), (64, 96)),  # one pixel becomes many
        ((2, 3), (64, 96)),
    ],
)
def test_align_corners_is_darknets_resampling(frame: tuple[int, int], canvas: tuple[int, int]) -> None:
    letterbox = Letterbox.fit(frame, canvas, "align_corners")
    image = make_image(*frame)
    height, width = letterbox.scaled_size
    top, left = int(letterbox.offset[1]), int(letterbox.offset[0])

    filled = letterbox.to_canvas(image)[top : top + height, left : left + width]

    # The tolerance of half a grey level is the rounding to integers.
    np.testing.assert_allclose(filled, _darknet_resize(image, height, width), rtol=0, atol=0.5 + 1e-3)


def _darknet_resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Darknet's resampling, computed pixel by pixel."""

    def interpolated(lines: np.ndarray, count: int) -> list[np.ndarray]:
        result = []
        for index in range(count):
            if len(lines) == 1 or index == count - 1:
                result.append(lines[-1])
                continue
            at = index * (len(lines) - 1) / (count - 1)
            low = int(at)
            result.append((1 - at + low) * lines[low] + (at - low) * lines[low + 1])
        return result

    wide = np.stack(interpolated(image.astype(np.float64).transpose(1, 0, 2), width))
    return np.stack(interpolated(wide.transpose(1, 0, 2), height))


def test_align_corners_keeps_the_frames_corners_and_geometry() -> None:
    image = make_image(93, 211)
    plain, aligned = (Letterbox.fit((93, 211), (96, 160), resize) for resize in ("bilinear", "align_corners"))

    canvas = aligned.to_canvas(image)[13:83]

    for row in (0, -1):
        for column in (0, -1):
            np.testing.assert_array_equal(canvas[row, column], image[row, column])
    assert (plain.scaled_size, plain.offset, plain.scale) == (aligned.scaled_size, aligned.offset, aligned.scale)


def test_takes_a_frame_that_is_a_view() -> None:
    wide = make_image(48, 200)
    view = wide[:, 20:180]

    canvas = Letterbox.fit((48, 160), (64, 96)).to_canvas(view)

    np.testing.assert_array_equal(canvas, Letterbox.fit((48, 160), (64, 96)).to_canvas(view.copy()))


@pytest.mark.parametrize("frame", [(93, 211), (375, 1242), (1080, 1920), (64, 96)])
def test_boxes_come_back(frame: tuple[int, int]) -> None:
    letterbox = Letterbox.fit(frame, (256, 832))
    boxes = np.array([[1, 2, 30, 40], [0, 0, frame[1], frame[0]], [5, 5, 5, 5]], np.float32)

    np.testing.assert_allclose(letterbox.boxes_to_frame(letterbox.boxes_to_canvas(boxes)), boxes, atol=1e-3)


def test_the_frame_fills_its_scaled_size_on_the_canvas() -> None:
    letterbox = Letterbox.fit((375, 1242), (256, 832))

    corners = letterbox.boxes_to_canvas(np.array([[0, 0, 1242, 375]], np.float32))

    np.testing.assert_allclose(corners, [[0, 2.5, 832, 253.5]])


def test_detections_go_to_the_frame_with_their_sigmas() -> None:
    letterbox = Letterbox.fit((375, 1242), (256, 832))
    scale_x, scale_y = 832 / 1242, 251 / 375

    mapped = letterbox.to_frame(make_detections([[83.2, 27.6, 166.4, 52.7]], sigmas=[[1, 2, 3, 4]]))

    np.testing.assert_allclose(
        mapped.boxes, [[83.2 / scale_x, 25.1 / scale_y, 166.4 / scale_x, 50.2 / scale_y]], rtol=1e-5
    )
    np.testing.assert_allclose(mapped.sigmas, [[1 / scale_x, 2 / scale_y, 3 / scale_x, 4 / scale_y]], rtol=1e-6)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ([10, 10, 20, 20], [[10, 10, 20, 20]]),  # inside
        ([-5, -5, 20, 20], [[0, 0, 20, 20]]),  # over the corner
        ([-5, -5, 200, 100], [[0, 0, 96, 64]]),  # larger than the frame
        ([-9, 10, 0, 20], []),  # touches the frame from outside
        ([10, 70, 20, 80], []),  # below
        ([10, 10, 10, 20], []),  # no area
    ],
)
def test_boxes_are_clipped_to_the_frame(box: list[float], expected: list[list[float]]) -> None:
    mapped = Letterbox.fit((64, 96), (64, 96)).to_frame(make_detections([box], sigmas=2.0))

    np.testing.assert_array_equal(mapped.boxes, np.array(expected, np.float32).reshape(-1, 4))
    assert (mapped.sigmas == 2.0).all()


def test_no_detections_go_to_the_frame() -> None:
    assert len(Letterbox.fit((375, 1242), (64, 96)).to_frame(make_detections())) == 0


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (np.zeros((48, 160), np.uint8), r"uint8 \[48, 160\]"),  # grey
        (np.zeros((48, 160, 4), np.uint8), r"\[48, 160, 4\]"),
        (np.zeros((48, 160, 3), np.float32), "float32"),
        (np.zeros((0, 160, 3), np.uint8), "no pixels"),
        (np.zeros((48, 161, 3), np.uint8), "161x48 px where 160x48 px"),
        (None, "NoneType"),
    ],
)
def test_refuses_what_is_no_frame(frame: np.ndarray, message: str) -> None:
    with pytest.raises(FrameError, match=message):
        Letterbox.fit((48, 160), (64, 96)).to_canvas(frame)


def test_refuses_a_frame_size_of_nothing() -> None:
    with pytest.raises(FrameError, match="160x0"):
        Letterbox.fit((0, 160), (64, 96))
