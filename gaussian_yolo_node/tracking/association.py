"""Which detection belongs to which track."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from gaussian_yolo_node.tracking.kalman import Floats

Indices = NDArray[np.intp]


def assign(costs: Floats, limit: float) -> tuple[Indices, Indices]:
    """The pairs with the least sum of costs, where leaving out a possible pair costs `limit`.

    Args:
        costs: [N, M]; what does not lie below the limit, as NaN, is no pair.

    Returns:
        Rows and columns of the pairs, both [P], by rising row.
    """
    bounded = np.where(costs < limit, costs, limit)
    rows, columns = linear_sum_assignment(bounded)
    paired = bounded[rows, columns] < limit
    return rows[paired], columns[paired]
