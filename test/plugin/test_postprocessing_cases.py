"""The kernels against the table that all implementations share."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from plugin_kernels import Call, Kernels
from postprocessing_cases import ANCHOR_SIZES, CASES, STRIDES, Case, check, heads_of


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case: Case, dtype: Any, kernels: Kernels) -> None:
    outputs = kernels.detect(Call(heads_of(case.cells, dtype), ANCHOR_SIZES, STRIDES, case.options))

    if case.expected is None:
        assert outputs.counts[0] == -1
        assert not any(getattr(outputs, item.name)[0].any() for item in fields(outputs)[1:])
    else:
        check(case, outputs.image(0))
