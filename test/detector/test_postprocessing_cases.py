"""decode and nms against the table of cases shared by all implementations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from postprocessing_cases import ANCHOR_SIZES, CASES, STRIDES, Case, check, heads_of, reference

from gaussian_yolo_node.detector.decode import NonFiniteOutputError


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case: Case, dtype: Any) -> None:
    heads = heads_of(case.cells, dtype)
    if case.expected is None:
        with np.errstate(over="ignore"), pytest.raises((NonFiniteOutputError, ValueError)):
            reference(heads, ANCHOR_SIZES, STRIDES, case.options)
        return

    check(case, reference(heads, ANCHOR_SIZES, STRIDES, case.options))
