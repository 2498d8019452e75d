"""When a worker counts as held, and what is done about it, with a clock of the tests."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from gaussian_yolo_node.ros.supervisor import AGAIN_S, LEAVE_S, LOADING_S, LOOK_S, Action, Step, Supervisor


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def hold(
    supervisor: Supervisor, clock: Clock, seconds: float, usual_s: float | None = 0.03, **step: bool
) -> tuple[float | None, Action]:
    """Look at a held worker, up to the first action; returns the time of the first error, and the action."""
    taken, error_at, action = clock.now, None, Action.NOTHING
    while clock.now - taken < seconds and action is Action.NOTHING:
        clock.now += LOOK_S
        action = supervisor.look(Step("running the network", taken, **step), usual_s)
        if supervisor.error and error_at is None:
            error_at = clock.now - taken
    return error_at, action


def work(supervisor: Supervisor, clock: Clock, seconds: float, frame_s: float) -> None:
    """Look at a worker that finishes a frame every `frame_s`."""
    until = clock.now + seconds
    while clock.now < until:
        taken = clock.now - clock.now % frame_s
        assert supervisor.look(Step("decoding a frame", taken), frame_s) is Action.NOTHING
        assert supervisor.error == ""
        clock.now += LOOK_S


def test_held_for_5_s_is_an_error_within_2_s_and_over_with_the_next_frame() -> None:
    clock = Clock()
    supervisor = Supervisor(clock)
    error_at, action = hold(supervisor, clock, 5.0)
    assert error_at is not None and error_at < 2.0
    assert supervisor.error == "no frame has been finished for 5 s: the worker is running the network"
    assert action is Action.NOTHING
    assert supervisor.look(Step("decoding a frame", clock.now), 0.03) is Action.NOTHING
    assert supervisor.error == ""


def test_a_worker_that_waits_for_frames_is_not_held() -> None:
    clock = Clock()
    supervisor = Supervisor(clock)
    hold(supervisor, clock, 5.0)
    for _ in range(1000):
        clock.now += LOOK_S
        assert supervisor.look(None, 0.03) is Action.NOTHING
        assert supervisor.error == ""


@pytest.mark.parametrize("frame_s", [0.01, 0.5, 3.0, 10.0])
def test_a_slow_network_is_not_held(frame_s: float) -> None:
    clock = Clock()
    work(Supervisor(clock), clock, 100, frame_s)


@pytest.mark.parametrize(("usual_s", "loads"), [(None, False), (0.03, True)])
def test_a_canvas_may_take_its_time_to_load(usual_s: float | None, loads: bool) -> None:
    clock = Clock()
    error_at, action = hold(Supervisor(clock), clock, LOADING_S + 1, usual_s, loads=loads)
    assert error_at == pytest.approx(LOADING_S, abs=2 * LOOK_S)
    assert action is Action.NOTHING


def test_held_for_ever_another_worker_then_the_end() -> None:
    clock = Clock()
    supervisor = Supervisor(clock)
    _, action = hold(supervisor, clock, LEAVE_S + 2)
    assert action is Action.RESTART
    _, action = hold(supervisor, clock, LEAVE_S + 2)
    assert action is Action.END


def test_held_again_much_later_is_another_worker_again() -> None:
    clock = Clock()
    supervisor = Supervisor(clock)
    hold(supervisor, clock, LEAVE_S + 2)
    work(supervisor, clock, AGAIN_S, 0.05)
    _, action = hold(supervisor, clock, LEAVE_S + 2)
    assert action is Action.RESTART


def test_no_other_thread_helps_a_middleware_that_holds() -> None:
    clock = Clock()
    _, action = hold(Supervisor(clock), clock, LEAVE_S + 2, mendable=False)
    assert action is Action.END


def test_a_stopped_process_that_goes_on_is_not_held() -> None:
    clock = Clock()
    supervisor = Supervisor(clock)
    supervisor.look(Step("decoding a frame", clock.now - 0.01), 0.03)
    clock.now += 600  # SIGSTOP, and SIGCONT; the worker finishes its frame as soon as it runs
    assert supervisor.look(Step("decoding a frame", clock.now - 599), 0.03) is Action.NOTHING
    assert supervisor.error == ""
