"""The fake GPU detects violations of CUDA's rules."""

from __future__ import annotations

import ctypes
import threading
from typing import Any

import numpy as np
import pytest
from fake_cuda import BrokenRule, Gpu, make_pycuda
from fake_libcuda import FakeLibcuda

from gaussian_yolo_node.runtime.tensorrt.cuda_driver import CudaCallError, CudaDriver


class Machine:
    """A fake GPU with current context, a stream, an event, and host and device memory."""

    def __init__(self) -> None:
        self.gpu = Gpu()
        self.cuda: Any = make_pycuda(self.gpu)
        self.driver = CudaDriver(FakeLibcuda(self.gpu))
        self.context = self.cuda.Device(0).retain_primary_context()
        self.context.push()
        self.stream = self.cuda.Stream()
        self.event = self.driver.make_event()
        self.device = self.cuda.mem_alloc(16)
        self.host = self.cuda.pagelocked_empty(16, np.uint8)

    def capture(self) -> int:
        """A graph of one copy to the device."""
        self.driver.begin_capture(self.stream.handle)
        self.cuda.memcpy_htod_async(self.device, self.host, self.stream)
        return self.driver.end_capture(self.stream.handle)


@pytest.fixture
def machine() -> Machine:
    return Machine()


def in_another_thread(machine: Machine) -> None:
    caught: list[BrokenRule] = []

    def work() -> None:
        try:
            machine.cuda.mem_alloc(4)
        except BrokenRule as error:
            caught.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    raise caught[0]


def copy_then_free_device(machine: Machine) -> None:
    machine.cuda.memcpy_htod_async(machine.device, machine.host, machine.stream)
    machine.device.free()
    machine.stream.synchronize()


def copy_then_free_host(machine: Machine) -> None:
    machine.cuda.memcpy_htod_async(machine.device, machine.host, machine.stream)
    machine.host.base.free()
    machine.stream.synchronize()


def launch_after_free(machine: Machine) -> None:
    graph = machine.capture()
    machine.device.free()
    machine.driver.launch(graph, machine.stream.handle)
    machine.stream.synchronize()


def free_twice(machine: Machine) -> None:
    machine.device.free()
    machine.device.free()


def free_graph_that_runs(machine: Machine) -> None:
    graph = machine.capture()
    machine.driver.launch(graph, machine.stream.handle)
    machine.driver.free_graph(graph)


def wait_while_capturing(machine: Machine) -> None:
    machine.driver.begin_capture(machine.stream.handle)
    machine.stream.synchronize()


def allocate_while_capturing(machine: Machine) -> None:
    machine.driver.begin_capture(machine.stream.handle)
    machine.cuda.mem_alloc(4)


def time_a_graph_with_a_plain_event(machine: Machine) -> None:
    machine.driver.begin_capture(machine.stream.handle)
    machine.driver.record(machine.event, machine.stream.handle, capturing=False)


def copy_too_much(machine: Machine) -> None:
    host = machine.cuda.pagelocked_empty(17, np.uint8)
    machine.cuda.memcpy_htod_async(machine.device, host, machine.stream)
    machine.stream.synchronize()


def pop_what_is_not_there(machine: Machine) -> None:
    machine.context.pop()
    machine.context.pop()


@pytest.mark.parametrize(
    ("mistake", "says"),
    [
        (in_another_thread, "no context current"),
        (copy_then_free_device, "used after it was freed"),
        (copy_then_free_host, "freed before it was copied from"),
        (launch_after_free, "used after it was freed"),
        (free_twice, "freed twice"),
        (free_graph_that_runs, "while it runs"),
        (wait_while_capturing, "being captured"),
        (allocate_while_capturing, "while a stream is captured"),
        (time_a_graph_with_a_plain_event, "must be external"),
        (copy_too_much, "beyond the end"),
        (lambda m: m.cuda.memcpy_htod_async(m.device, np.zeros(16, np.uint8), m.stream), "not pinned"),
        (pop_what_is_not_there, "not current"),
    ],
)
def test_a_mistake_breaks_a_rule(machine: Machine, mistake: Any, says: str) -> None:
    with pytest.raises(BrokenRule, match=says):
        mistake(machine)


def test_what_is_left_behind_is_found(machine: Machine) -> None:
    machine.context.pop()
    with pytest.raises(AssertionError, match="2 allocations were not freed"):
        machine.gpu.assert_clean()


def test_work_is_done_when_it_is_waited_for_and_not_before(machine: Machine) -> None:
    machine.host[:] = 1
    machine.cuda.memcpy_htod_async(machine.device, machine.host, machine.stream)
    machine.host[:] = 2
    machine.stream.synchronize()
    assert set(machine.gpu.at(int(machine.device), 16)) == {2}


def test_what_is_captured_runs_when_it_is_launched_and_as_often(machine: Machine) -> None:
    graph = machine.capture()
    machine.stream.synchronize()
    assert set(machine.gpu.at(int(machine.device), 16)) == {0xCD}
    for value in (3, 4):
        machine.host[:] = value
        machine.driver.launch(graph, machine.stream.handle)
        machine.stream.synchronize()
        assert set(machine.gpu.at(int(machine.device), 16)) == {value}


def test_a_planted_failure_has_cudas_words_and_ends(machine: Machine) -> None:
    machine.gpu.fail("cuGraphLaunch", "invalid argument", code=1, after=1, times=1)
    graph = machine.capture()
    machine.driver.launch(graph, machine.stream.handle)
    with pytest.raises(CudaCallError, match="cuGraphLaunch failed: invalid argument"):
        machine.driver.launch(graph, machine.stream.handle)
    machine.driver.launch(graph, machine.stream.handle)


def test_the_real_library_has_every_function_where_it_is() -> None:
    try:
        library = ctypes.CDLL("libcuda.so.1")
    except OSError:
        pytest.skip("no NVIDIA driver on this machine")
    for name in vars(FakeLibcuda):
        if name.startswith("cu"):
            assert hasattr(library, name), name


def test_the_real_pycuda_has_every_name_where_it_is() -> None:
    try:
        from pycuda import driver as real
    except ImportError as error:
        pytest.skip(f"pycuda cannot be imported: {error}")
    pretended = make_pycuda(Gpu())
    for name, value in vars(pretended).items():
        if not name.startswith("_"):
            assert hasattr(real, name), name
            members = (
                [member for member in vars(value) if not member.startswith("_")] if isinstance(value, type) else []
            )
            for member in members:
                assert hasattr(getattr(real, name), member), f"{name}.{member}"
