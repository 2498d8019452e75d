"""TensorRT for building engines."""

from __future__ import annotations

from typing import Any

import pytest

from gaussian_yolo_node.engine.contract_plugin import register_contract_plugin
from gaussian_yolo_node.engine.tensorrt_api import TensorRtApi, load_api
from gaussian_yolo_node.errors import GaussianYoloError


@pytest.fixture(scope="session")
def rtx() -> TensorRtApi:
    """TensorRT for RTX, which builds without a GPU."""
    try:
        return load_api("tensorrt_rtx")
    except GaussianYoloError as error:
        pytest.skip(str(error))


@pytest.fixture
def created(rtx: TensorRtApi) -> list[Any]:
    """Attributes of the plugins that TensorRT creates from now on."""
    attributes: list[Any] = register_contract_plugin(rtx.trt).created
    attributes.clear()
    return attributes
