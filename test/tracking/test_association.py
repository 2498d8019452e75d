"""Assignment of detections to tracks."""

from __future__ import annotations

import numpy as np
import pytest

from gaussian_yolo_node.tracking.association import assign

INF, NAN = np.inf, np.nan


@pytest.mark.parametrize(
    ("costs", "pairs"),
    [
        pytest.param([[0.1]], [(0, 0)], id="one"),
        pytest.param([[0.1, 0.2], [0.1, 0.9]], [(0, 1), (1, 0)], id="the sum counts"),
        pytest.param([[0.1, 0.6], [0.6, INF]], [(0, 0)], id="two poor pairs do not oust a good one"),
        pytest.param([[0.5, 0.4], [0.4, 0.5]], [(0, 1), (1, 0)], id="crossed"),
        pytest.param([[0.5, 0.5]], [(0, 0)], id="tie: the first"),
        pytest.param([[INF, NAN], [1.0, 2.0]], [], id="nothing below the limit"),
        pytest.param(np.empty((0, 3)), [], id="no rows"),
        pytest.param(np.empty((2, 0)), [], id="no columns"),
    ],
)
def test_pairs(costs: object, pairs: list[tuple[int, int]]) -> None:
    rows, columns = assign(np.array(costs, float), 1.0)
    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == pairs
