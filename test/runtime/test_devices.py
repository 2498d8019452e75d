"""The choice of a device among runtimes that pretend to have some, and models shared in memory."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from factories import make_image

from gaussian_yolo_node.detector.detector import Detector
from gaussian_yolo_node.runtime import CPU_RUNTIMES, InferenceError, RuntimeOptions, RuntimeUnavailableError, devices
from gaussian_yolo_node.runtime.devices import open_fastest
from gaussian_yolo_node.runtime.openvino import OpenVinoRuntime
from gaussian_yolo_node.runtime.sharing import Shared


def pretend(
    name: str, there: list[str], seconds: Mapping[str, float] = MappingProxyType({}), fail: str = "", fail_at: int = 0
) -> type[Any]:
    """A runtime's class: the real one on the processor, which claims to be on `there`.

    Args:
        name: the runtime's.
        there: its devices.
        seconds: time per inference on a device.
        fail: a device that fails, from its `fail_at`-th inference on.
        fail_at: 0 fails to load.
    """

    class Pretended(OpenVinoRuntime):
        def __init__(self, path: Path, options: RuntimeOptions, device: str = "CPU") -> None:
            if device == fail and not fail_at:
                raise InferenceError("the driver is too old")
            super().__init__(path, options, "CPU")
            self.device, self.runs, self.closed = device, 0, False
            self.description = f"{name} {device}"

        @staticmethod
        def devices() -> list[str]:
            return there

        def at(self, input_size: tuple[int, int], device: str = "") -> Any:
            return Pretended(self._path, self._options, device or self.device)

        def infer(self, canvas: Any) -> Any:
            self.runs += 1
            if self.device == fail and self.runs >= fail_at:
                raise InferenceError("the device was unplugged")
            time.sleep(seconds.get(self.device, 0))
            return super().infer(canvas)

    Pretended.name = name
    return Pretended


SLOW_CPU = {"CPU": 0.03}


@pytest.mark.parametrize(
    ("wanted", "openvino", "onnxruntime", "seconds", "chosen"),
    [
        ("auto", ["CPU"], ["CPU"], {}, "openvino CPU"),
        ("auto", ["CPU", "GPU"], [], SLOW_CPU, "openvino GPU"),
        ("auto", ["CPU", "GPU", "NPU"], [], {**SLOW_CPU, "GPU": 0.02}, "openvino NPU"),
        ("auto", ["CPU", "GPU"], [], {"GPU": 0.03}, "openvino CPU"),
        ("auto", ["CPU"], ["CUDAExecutionProvider", "CPU"], SLOW_CPU, "onnxruntime CUDAExecutionProvider"),
        ("cpu", ["CPU", "GPU"], [], SLOW_CPU, "openvino CPU"),
        ("CPU", ["CPU", "GPU"], [], SLOW_CPU, "openvino CPU"),
        ("gpu", ["CPU", "GPU"], [], {"GPU": 0.03}, "openvino GPU"),
        ("gpu", ["CPU"], ["CUDAExecutionProvider", "CPU"], {}, "onnxruntime CUDAExecutionProvider"),
        ("gpu", ["CPU", "GPU.0", "GPU.1"], [], {"GPU.0": 0.03}, "openvino GPU.1"),
        ("npu", ["CPU", "GPU", "NPU"], [], {}, "openvino NPU"),
        ("GPU.1", ["CPU", "GPU.0", "GPU.1"], [], {"GPU.1": 0.03}, "openvino GPU.1"),
        ("cudaexecutionprovider", ["CPU"], ["CUDAExecutionProvider", "CPU"], {}, "onnxruntime CUDAExecutionProvider"),
        ("HETERO:GPU,CPU", ["CPU", "GPU"], [], {}, "openvino HETERO:GPU,CPU"),
        ("auto", ["CPU"], ["AzureExecutionProvider", "CPU"], SLOW_CPU, "openvino CPU"),
    ],
)
def test_the_fastest_device_of_the_wanted_kind(
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    wanted: str,
    openvino: list[str],
    onnxruntime: list[str],
    seconds: dict[str, float],
    chosen: str,
) -> None:
    monkeypatch.setattr(devices, "_may_have_accelerator", lambda kinds: True)
    kinds = [pretend("openvino", openvino, seconds), pretend("onnxruntime", onnxruntime, seconds)]
    runtime = open_fastest(tiny_model, kinds, RuntimeOptions(threads=1, device=wanted))
    assert runtime.description == chosen
    assert runtime.notice == ""


@pytest.mark.parametrize("wanted", ["gpu", "npu", "GPU.7", "tpu", "CUDAExecutionProvider"])
def test_a_device_that_is_not_there_is_refused_with_those_that_are(tiny_model: Path, wanted: str) -> None:
    kinds = [pretend("openvino", ["CPU", "GPUX"] if wanted == "npu" else ["CPU"])]
    with pytest.raises(RuntimeUnavailableError, match=f"device '{wanted.lower()}' is not on this machine.*CPU"):
        open_fastest(tiny_model, kinds, RuntimeOptions(threads=1, device=wanted))


@pytest.mark.parametrize("fail_at", [0, 1])
@pytest.mark.parametrize("wanted", ["auto", "gpu", "GPU"])
def test_a_device_that_fails_is_replaced_by_the_processor_with_a_warning(
    tiny_model: Path, caplog: pytest.LogCaptureFixture, wanted: str, fail_at: int
) -> None:
    kind = pretend("openvino", ["CPU", "GPU"], fail="GPU", fail_at=fail_at)
    runtime = open_fastest(tiny_model, [kind], RuntimeOptions(threads=1, device=wanted))
    assert runtime.device == "CPU"
    assert "device GPU fails" in runtime.notice
    assert "running on the CPU" in runtime.notice
    assert "device GPU fails" in caplog.text


def test_a_device_that_fails_in_the_middle_loses_no_frame(tiny_model: Path) -> None:
    kind = pretend("openvino", ["CPU", "GPU"], fail="GPU", fail_at=10)
    runtime = open_fastest(tiny_model, [kind], RuntimeOptions(threads=1, device="gpu"))
    from gaussian_yolo_node.detector.model import read_card

    with Detector(runtime, read_card(runtime.metadata, tiny_model), tiny_model) as detector:
        found = [len(detector(make_image())) for _ in range(12)]
        assert found == [2] * 12
        assert "unplugged" in detector.notice
        assert detector.runtime.device == "CPU"


def test_the_processor_has_no_replacement(tiny_model: Path) -> None:
    kind = pretend("openvino", ["CPU"], fail="CPU", fail_at=3)
    runtime = open_fastest(tiny_model, [kind], RuntimeOptions(threads=1))
    from gaussian_yolo_node.detector.model import read_card

    detector = Detector(runtime, read_card(runtime.metadata, tiny_model), tiny_model)
    detector(make_image())
    detector(make_image())
    with pytest.raises(InferenceError, match="unplugged"):
        detector(make_image())


@pytest.mark.parametrize("name", CPU_RUNTIMES)
def test_a_runtime_lists_the_processor(name: str) -> None:
    pytest.importorskip(name)
    assert "CPU" in devices._devices(_class(name))


@pytest.mark.parametrize("name", CPU_RUNTIMES)
class TestSharing:
    def test_two_of_one_model_share_it_and_work_at_the_same_time(self, tiny_model: Path, name: str) -> None:
        options = RuntimeOptions(threads=1)
        first, second = (_class(name)(tiny_model, options) for _ in range(2))
        assert first._shared is second._shared
        canvases = [np.full((64, 96, 3), level, np.uint8) for level in (0, 250)]
        expected = [first.infer(canvas)[0].copy() for canvas in canvases]
        wrong: list[int] = []

        def work(index: int) -> None:
            runtime = (first, second)[index]
            for _ in range(50):
                if not np.array_equal(runtime.infer(canvases[index])[0], expected[index]):
                    wrong.append(index)

        threads = [threading.Thread(target=work, args=(index,)) for index in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong

    def test_closing_one_leaves_the_other(self, tiny_model: Path, name: str) -> None:
        first, second = (_class(name)(tiny_model, RuntimeOptions(threads=1)) for _ in range(2))
        first.close()
        assert second.infer(np.zeros((64, 96, 3), np.uint8))

    def test_other_options_are_another_model(self, tiny_model: Path, name: str) -> None:
        one, two = (_class(name)(tiny_model, RuntimeOptions(threads=threads)) for threads in (1, 2))
        assert one._shared is not two._shared


def test_an_item_lives_as_long_as_it_is_held() -> None:
    class Item:
        pass

    shared: Shared[Item] = Shared()
    first = shared.get("key", Item)
    assert shared.get("key", Item) is first
    assert shared.get("other", Item) is not first
    del first
    gc.collect()
    made: list[None] = []
    shared.get("key", lambda: made.append(None) or Item())
    assert made == [None]


def _class(name: str) -> Any:
    from gaussian_yolo_node.runtime import _kind

    return _kind(name)
