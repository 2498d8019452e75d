from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from factories import make_detections

from gaussian_yolo_node.detector import drawing
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
    # Horizontal edges +-4 px, vertical edges +-6 px.
    picture = draw(make_detections([BOX], sigmas=[[6.0, 4.0, 0.0, 0.0]]))

    middle_row, middle_column = picture[200], picture[:, 400]
    assert np.flatnonzero(middle_row.any(axis=1)).tolist() == [*range(294, 306), *range(494, 506)]
    below = np.flatnonzero(middle_column.any(axis=1))
    assert below[below > 200].tolist() == list(range(246, 254))
    # The mean edge is brighter than its band.
    assert (middle_row[300].astype(int) > 2 * middle_row[297].astype(int)).any()
    assert not picture[200, 400].any()  # the inside stays empty


def test_overlapping_bands_stay_translucent() -> None:
    frame = np.full((375, 1242, 3), 255, np.uint8)
    picture = draw(make_detections([BOX], sigmas=5.0), frame)
    colour = picture[200, 300].astype(int)  # the mean edge
    np.testing.assert_allclose(picture[200, 297], 0.6 * 255 + 0.4 * colour, atol=1)


def test_wide_sigmas_are_dotted_outlines() -> None:
    picture = draw(make_detections([BOX], sigmas=[[30.0, 20.0, 0.0, 0.0]]))

    drawn = picture.any(axis=2)
    columns, rows = np.flatnonzero(drawn[180:220].any(axis=0)), np.flatnonzero(drawn[:, 400:440].any(axis=1))
    assert columns.tolist() == [270, 300, 330, 470, 500, 530]
    assert rows[rows > 160].tolist() == [170, 230, 250, 270]
    assert drawn[180:220, 300].all()  # the mean edge
    for column in (270, 330, 470, 530):
        assert 0 < drawn[180:220, column].sum() <= 20
    assert drawn.mean() < 0.02


@pytest.mark.parametrize("sigma", [1e6, [1e6, 3.0, 0.0, 0.0], float(2**31)])
def test_a_huge_sigma_leaves_the_frame_visible(sigma: object) -> None:
    picture = draw(make_detections([BOX], sigmas=sigma))

    assert picture[160:240, 300].any(axis=1).all() and picture[160:240, 500].any(axis=1).all()
    assert picture.any(axis=2).mean() < 0.02


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


def label_rows(picture: np.ndarray, box: list[float]) -> int:
    """Height of the label above a box, px."""
    return int(picture[: round(box[1]), round(box[0]) + 1].any(axis=1).sum())


@pytest.mark.parametrize(("height", "width", "least"), [(375, 1242, 12), (720, 1280, 16), (2160, 3840, 40)])
def test_labels_are_legible_at_every_size_of_frame(height: int, width: int, least: int) -> None:
    box = [0.3 * width, 0.4 * height, 0.7 * width, 0.8 * height]
    assert label_rows(draw(make_detections([box], sigmas=0.0), black(height, width)), box) >= least


def filled(picture: np.ndarray) -> int:
    """Px of the label, the only solid area."""
    solid = cv2.erode(picture.any(axis=2).astype(np.uint8), np.ones((3, 3), np.uint8))
    return int(solid.sum())


def test_a_small_box_has_its_score_alone_and_a_tiny_one_nothing() -> None:
    areas = [
        filled(draw(make_detections([[600, 200, 600 + side, 200 + side]], sigmas=0.0))) for side in (120, 40, 20, 8)
    ]
    assert areas[0] > 2 * areas[1] > 0
    assert areas[1] == pytest.approx(areas[2], rel=0.1)
    assert areas[3] == 0


def test_a_label_does_not_cover_the_box_above() -> None:
    upper, lower = [300.0, 100.0, 420.0, 160.0], [300.0, 165.0, 420.0, 225.0]
    for scores in ([0.9, 0.8], [0.8, 0.9]):
        alone = draw(make_detections([upper], scores=scores[:1], sigmas=0.0))
        both = draw(make_detections([upper, lower], scores=scores, class_ids=[0, 1], sigmas=0.0))
        np.testing.assert_array_equal(both[100:161, 300:421], alone[100:161, 300:421])


@pytest.mark.parametrize(("count", "size"), [(2, 300), (15, 120), (60, 60), (200, 40)])
def test_no_label_hides_another_box_or_label(count: int, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    placed = []

    def record(*arguments: Any) -> Any:
        for index, label, area in place(*arguments):
            placed.append((index, area))
            yield index, label, area

    place = drawing._place
    monkeypatch.setattr(drawing, "_place", record)
    rng = np.random.default_rng(count)
    corners = rng.uniform((0, 0), (1200, 350), (count, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(5, size, (count, 2))], axis=1).clip(0, (1242, 375) * 2)
    draw(make_detections(boxes.tolist(), scores=np.linspace(0.1, 0.9, count).tolist(), sigmas=2.0))

    assert placed
    for index, (x1, y1, x2, y2) in placed:
        assert 0 <= x1 < x2 <= 1242 and 0 <= y1 < y2 <= 375
        for other, box in enumerate(boxes):
            left, top, right, bottom = np.add(box, (1, 1, -1, -1))  # a neighbour's outline may be touched
            across, down = min(x2, right) - max(x1, left), min(y2, bottom) - max(y1, top)
            if other != index and across > 0 and down > 0:
                assert left < x1 and x2 < right and top < y1 and y2 < bottom
                assert across * down <= 0.05 * (right - left) * (bottom - top)
    for number, (_, a) in enumerate(placed):
        for _, b in placed[:number]:
            assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


@pytest.mark.parametrize(
    ("box", "labelled"),
    [
        ([0.0, 0.0, 40.0, 40.0], True),  # no room above
        ([1200.0, 330.0, 1242.0, 375.0], True),  # no room to the right or below
        ([0.0, 0.0, 1242.0, 375.0], True),  # the whole frame
        ([0.0, 100.0, 1242.0, 110.0], True),  # a sliver
        ([-50.0, -50.0, 30.0, 30.0], True),  # cut
        ([600.0, 200.0, 600.0, 200.0], False),  # no area
    ],
)
def test_label_is_within_the_frame_wherever_the_box_is(box: list[float], labelled: bool) -> None:
    picture = draw(make_detections([box], sigmas=0.0))

    # Its background is solid in the class colour, text apart.
    assert (filled(picture) > 100) is labelled


@pytest.mark.parametrize("box", [[-50.0, -50.0, -10.0, -10.0], [1300.0, 400.0, 1400.0, 500.0], [-1e9, 0.0, 1e9, 9.0]])
def test_boxes_outside_of_the_frame_do_no_harm(box: list[float]) -> None:
    assert draw(make_detections([box, BOX], sigmas=2.0)).any()


def test_frame_smaller_than_its_label() -> None:
    assert draw(make_detections([[1.0, 1.0, 5.0, 5.0]]), black(8, 8)).shape == (8, 8, 3)


def test_class_without_a_name_is_shown_as_its_number() -> None:
    assert draw(make_detections([BOX], class_ids=[9])).any()
