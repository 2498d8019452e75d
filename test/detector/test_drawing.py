from __future__ import annotations

import numpy as np
import pytest
from factories import make_detections

from gaussian_yolo_node.detector.detections import Detections
from gaussian_yolo_node.detector.drawing import draw_detections, edge_sigmas

CLASSES = ("car", "pedestrian", "cyclist")
BOX = [300.0, 150.0, 500.0, 250.0]


def black(height: int = 375, width: int = 1242) -> np.ndarray:
    return np.zeros((height, width, 3), np.uint8)


def draw(detections: Detections, frame: np.ndarray | None = None) -> np.ndarray:
    return draw_detections(black() if frame is None else frame, detections, CLASSES)


@pytest.mark.parametrize(
    ("sigma", "expected"),
    [
        ([3.0, 4.0, 0.0, 0.0], [3.0, 4.0]),
        ([0.0, 0.0, 6.0, 8.0], [3.0, 4.0]),  # an edge moves by half of the size
        ([3.0, 0.0, 8.0, 0.0], [5.0, 0.0]),
    ],
)
def test_edge_sigmas(sigma: list[float], expected: list[float]) -> None:
    np.testing.assert_allclose(edge_sigmas(make_detections([BOX], sigmas=[sigma])), [expected])


def test_frame_is_left_alone() -> None:
    frame = black()
    frame.setflags(write=False)

    picture = draw(make_detections([BOX], sigmas=5.0), frame)

    assert not frame.any()
    assert picture.shape == frame.shape and picture.dtype == np.uint8 and picture.flags.writeable


def test_nothing_to_draw_gives_a_copy() -> None:
    frame = black()

    picture = draw(Detections.empty(), frame)

    np.testing.assert_array_equal(picture, frame)
    assert not np.shares_memory(picture, frame)


def test_band_reaches_one_sigma_to_both_sides_of_each_edge() -> None:
    # Horizontal edges +-10 px, vertical edges +-20 px.
    picture = draw(make_detections([BOX], sigmas=[[20.0, 10.0, 0.0, 0.0]]))

    middle_row, middle_column = picture[200], picture[:, 400]
    assert np.flatnonzero(middle_row.any(axis=1)).tolist() == [*range(280, 320), *range(480, 520)]
    below = np.flatnonzero(middle_column.any(axis=1))
    assert below[below > 200].tolist() == list(range(240, 260))
    # The mean edge is brighter than its band.
    assert (middle_row[300].astype(int) > 2 * middle_row[290].astype(int)).any()
    assert not picture[200, 400].any()  # the inside stays empty


def test_band_of_a_huge_sigma_fills_the_box_and_no_more_than_the_frame() -> None:
    picture = draw(make_detections([BOX], sigmas=1e6))

    assert picture[50:].any(axis=2).all()  # the label with its black text is at the top


def test_without_sigma_there_is_a_line_only() -> None:
    picture = draw(make_detections([BOX], sigmas=0.0))

    assert np.flatnonzero(picture[200].any(axis=1)).tolist() == [300, 500]


def test_classes_have_different_colours() -> None:
    boxes = [[100.0, 150.0, 200.0, 250.0], [300.0, 150.0, 400.0, 250.0], [500.0, 150.0, 600.0, 250.0]]

    picture = draw(make_detections(boxes, class_ids=[0, 1, 2], sigmas=0.0))

    assert len({tuple(picture[200, x].tolist()) for x in (100, 300, 500)}) == 3


def test_better_box_lies_on_top() -> None:
    boxes = [BOX, BOX]

    picture = draw(make_detections(boxes, scores=[0.9, 0.5], class_ids=[0, 1], sigmas=0.0))

    alone = draw(make_detections([BOX], class_ids=[0], sigmas=0.0))
    np.testing.assert_array_equal(picture[200, 300], alone[200, 300])


def test_labels_of_neighbours_do_not_cover_each_other() -> None:
    near = [BOX, [BOX[0] + 4, BOX[1] + 2, BOX[2] + 4, BOX[3] + 2]]

    first = draw(make_detections(near[:1], sigmas=0.0))
    both = draw(make_detections(near, scores=[0.9, 0.8], class_ids=[0, 1], sigmas=0.0))

    label = first[:148].any(axis=2)  # above the box there is only the label
    np.testing.assert_array_equal(both[:148][label], first[:148][label])


@pytest.mark.parametrize(
    "box",
    [
        [0.0, 0.0, 5.0, 5.0],  # no room above
        [1230.0, 360.0, 1242.0, 375.0],  # no room to the right or below
        [0.0, 0.0, 1242.0, 375.0],  # the whole frame
        [-50.0, -50.0, -10.0, -10.0],  # outside
        [1300.0, 400.0, 1400.0, 500.0],
        [600.0, 200.0, 600.0, 200.0],  # no area
    ],
)
def test_label_is_within_the_frame_wherever_the_box_is(box: list[float]) -> None:
    picture = draw(make_detections([box], sigmas=2.0))

    # The label's background is solid in the class colour; count its pixels.
    assert picture.any(axis=2).sum() > 500


def test_frame_smaller_than_its_label() -> None:
    assert draw(make_detections([[1.0, 1.0, 5.0, 5.0]]), black(8, 8)).shape == (8, 8, 3)


def test_class_without_a_name_is_shown_as_its_number() -> None:
    assert draw(make_detections([BOX], class_ids=[9])).any()
