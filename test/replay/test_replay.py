"""Bags through a running node: unusual and damaged bags, and the notes on them."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from factories import Planted, make_model, slow_inference

pytest.importorskip("rclpy", reason="ROS 2 is not installed")
pytest.importorskip("rosbags", reason="rosbags is not installed (extra 'bags')")

from replay.replay_bags import PERIOD_NS, START_NS, image, pictures, write_bag
from ros.harness import NodeProcess
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage

from gaussian_yolo_node.bags import INFO_TOPIC, TRUTH_TOPIC
from gaussian_yolo_node.bags.reading import BagReader
from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.labels.bag_records import read_bag_places, read_bag_tracks
from gaussian_yolo_node.labels.predictions import read_predictions
from gaussian_yolo_node.replay import ReplayOptions, link
from gaussian_yolo_node.replay.frame_log import FrameLog
from gaussian_yolo_node.replay.player import OnProgress
from gaussian_yolo_node.replay.run import Outcome, replay
from gaussian_yolo_node.replay.run_folder import Mode, ReplayCounters, read_run
from gaussian_yolo_node.ros.driving.own_node import OwnNode

Replay = Callable[..., Outcome]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """A running, unconfigured node; its model gives NaN for a black frame."""
    folder = tmp_path_factory.mktemp("node")
    model = make_model(folder / "fragile.onnx", nan_when_black=True)
    process = NodeProcess(folder / "node.log", {"model": model, "autostart": False})
    yield process
    process.stop()


@pytest.fixture(scope="module")
def own() -> Iterator[OwnNode]:
    """A node for the replay, shared so that discovery happens once."""
    with OwnNode("replay") as own:
        yield own


def perception_child() -> int:
    """Process id of the node started by the replay in this process."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid() and b"__ns:=/replay" in (folder / "cmdline").read_bytes():
                return int(folder.name)
        except (FileNotFoundError, ProcessLookupError):  # ended meanwhile
            continue
    pytest.fail("the replay has no node of its own")


@pytest.fixture
def through(node: NodeProcess, own: OwnNode, tmp_path: Path) -> Replay:
    """Replays a bag through the running node into tmp_path / "run"."""

    def through(bag: Path, on_progress: OnProgress = lambda log: None, **options: Any) -> Outcome:
        return replay(ReplayOptions(bag, tmp_path / "run", node="/perception", **options), on_progress, own=own)

    return through


def alone(
    bag: Path, model: Path, mode: Mode = "lockstep", on_progress: OnProgress = lambda log: None, **options: Any
) -> Outcome:
    """Replays a bag through a node of its own into the folder "run" beside it."""
    parameters = {"model": str(model), **options.pop("parameters", {})}
    return replay(ReplayOptions(bag, bag.parent / "run", mode, parameters=parameters, **options), on_progress)


def frames_of(folder: Path) -> list[str | int]:
    return [frame.frame for frame in read_predictions(folder / "detections.json")]


def test_answers_truth_and_names_are_recorded(through: Replay, tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag.mcap", [image(picture) for picture in pictures(5)], truth=True)
    outcome = through(bag)
    assert outcome.error is None and not outcome.interrupted
    run = read_run(tmp_path / "run")
    assert run == outcome.run
    assert run.counters == ReplayCounters(5, 5, 0, 0)
    assert [frame.name for frame in run.frames] == frames_of(tmp_path / "run") == [f"{i:03}.png" for i in range(5)]
    assert all(frame.detections == 2 and (frame.width, frame.height) == (96, 64) for frame in run.frames)
    assert run.model["name"] == "tiny" and run.model["classes"] and "model_card" not in run.diagnostics
    assert run.diagnostics["frames_processed"] == "5"
    assert run.score_threshold == pytest.approx(0.005)  # for the tail of the curve
    assert not run.notes
    with BagReader(tmp_path / "run" / "answers.mcap") as reader:
        counts = {name: topic.count for name, topic in reader.topics.items()}
        assert counts == {"/perception/detections": 5, TRUTH_TOPIC: 5, INFO_TOPIC: 5}
        times = [message.stamp_ns for message in reader.messages({"/perception/detections"})]
    assert times == [START_NS + i * PERIOD_NS for i in range(5)]


def test_frames_that_the_node_cannot_process_fail_and_the_run_goes_on(through: Replay, tmp_path: Path) -> None:
    messages: list[Any] = [image(picture) for picture in pictures(6)]
    messages[1].encoding = "16UC1"
    messages[3] = image(np.zeros((64, 96, 3), np.uint8))  # NaN for this model
    whole = write_bag(tmp_path / "whole.mcap", messages)
    with BagReader(whole) as reader:
        raws: list[Any] = [message.raw for message in reader.messages()]
    raws[4] = raws[4][:-500]
    run = through(write_bag(tmp_path / "bag.mcap", raws)).run
    assert run.counters == ReplayCounters(6, 3, 0, 3)
    failures = [frame.failure for frame in run.frames]
    assert [bool(failure) for failure in failures] == [False, True, False, True, True, False]
    assert "encoding '16UC1' is not supported" in failures[1]
    assert "not finite" in failures[3] or "NaN" in failures[3]
    assert "announces 18432 bytes of picture, but 17932 are there" in failures[4]
    assert len(frames_of(tmp_path / "run")) == 3


@pytest.mark.parametrize(
    ("stamps", "names", "note"),
    [
        pytest.param([0, 0, 0, 0], ["0", "0#2", "0#3", "0#4"], "3 equal to an earlier image's, 4 0 (of 4)", id="zero"),
        pytest.param([30, 20, 10], ["30", "20", "10"], "2 before the stamp of the image before (of 3)", id="backwards"),
        pytest.param([5, 5, 9], ["5", "5#2", "9"], "1 equal to an earlier image's (of 3)", id="repeated"),
    ],
)
def test_stamps_that_do_not_run_forward(
    through: Replay, tmp_path: Path, stamps: list[int], names: list[str], note: str
) -> None:
    bag = write_bag(tmp_path / "bag.mcap", [image(picture) for picture in pictures(len(stamps))], stamps=stamps)
    run = through(bag).run
    assert run.counters == ReplayCounters(len(stamps), len(stamps), 0, 0)
    assert [frame.stamp_ns for frame in run.frames] == stamps
    assert frames_of(tmp_path / "run") == names
    assert [text for text in run.notes if "stamps that do not run forward" in text and note in text]


def test_images_of_two_sizes(through: Replay, tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag.mcap", [image(picture) for picture in (*pictures(3), *pictures(2, (30, 50)))])
    run = through(bag).run
    assert run.counters == ReplayCounters(5, 5, 0, 0)
    assert any("images of 2 sizes: 96x64 (3), 50x30 (2)" in note for note in run.notes)
    sizes = [
        (record["width"], record["height"]) for record in json.loads((tmp_path / "run/detections.json").read_text())
    ]
    assert sizes == [(96, 64)] * 3 + [(50, 30)] * 2


def test_a_bag_that_is_cut_short_is_played_as_far_as_it_goes(through: Replay, tmp_path: Path) -> None:
    messages = [image(picture) for picture in pictures(8, (256, 384))]
    whole = write_bag(tmp_path / "whole.mcap", messages)
    cut = tmp_path / "cut.mcap"
    cut.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * 0.8)])
    run = through(cut).run
    assert 0 < run.counters.answered == run.counters.played < 8
    assert any("cut short" in note for note in run.notes)


def test_an_active_node_keeps_its_topic_and_takes_frames_in_real_time(
    through: Replay, own: OwnNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bag = write_bag(tmp_path / "bag.mcap", [image(picture) for picture in pictures(6)])
    assert through(bag).run.counters.answered == 6  # the node is active from here on
    clock: list[int] = []
    subscription = own.node.create_subscription(
        Clock, "/clock", lambda message: clock.append(message.clock.sec * 1_000_000_000 + message.clock.nanosec), 100
    )
    outcome = through(bag, mode="realtime", rate_factor=0.5, overwrite=True)
    own.node.destroy_subscription(subscription)
    assert outcome.run.counters == ReplayCounters(6, 6, 0, 0)
    assert outcome.run.elapsed_s > 5 * PERIOD_NS / 1e9 / 0.5
    assert clock == sorted(set(clock))  # the clock never stands still nor runs backwards
    assert START_NS < clock[-1] <= START_NS + 5 * PERIOD_NS
    assert len(clock) > 6  # also ticks between the frames
    monkeypatch.setattr(link, "LISTEN_TIMEOUT_S", 0.5)
    other = write_bag(tmp_path / "other.mcap", [image(pictures(1)[0])], topic="/other")
    with pytest.raises(GaussianYoloError, match=r"takes its images from /camera/image_raw, not from /other"):
        through(other, overwrite=True)
    with pytest.raises(GaussianYoloError, match="'model' is read when the node is configured"):
        through(bag, parameters={"model": "other.onnx"}, overwrite=True)


def test_compressed_images_through_a_node_of_its_own(tmp_path: Path, tiny_model: Path) -> None:
    messages = []
    for picture in pictures(3, (40, 60)):
        messages.append(CompressedImage(format="png"))
        messages[-1].data.frombytes(cv2.imencode(".png", picture)[1].tobytes())
    bag = write_bag(tmp_path / "bag.mcap", messages)
    run = alone(bag, tiny_model, remaps=["/camera/image_raw/compressed:=/front/compressed"]).run
    assert run.counters == ReplayCounters(3, 3, 0, 0)
    assert {(frame.width, frame.height) for frame in run.frames} == {(60, 40)}
    assert run.diagnostics["source"] == "/camera/image_raw/compressed"
    assert "detecting in" in (tmp_path / "run" / "node.log").read_text()


@pytest.mark.parametrize(
    "layout", ["h264", pytest.param("", marks=pytest.mark.slow)], ids=["by format", "by start code"]
)
def test_a_bag_of_video_says_why_nothing_was_answered(tmp_path: Path, tiny_model: Path, layout: str) -> None:
    messages = [CompressedImage(format=layout) for _ in range(3)]
    for message in messages:
        message.data.frombytes(b"\0\0\0\1\x67" + bytes(50))
    bag = write_bag(tmp_path / "bag.mcap", messages)
    run = alone(bag, tiny_model).run
    assert run.counters == ReplayCounters(3, 0, 0, 3)
    assert any("no image was answered: " in note and "part of a video" in note for note in run.notes)


@pytest.mark.parametrize("mode", ["lockstep", pytest.param("realtime", marks=pytest.mark.slow)])
def test_tracks_and_places_are_recorded(tmp_path: Path, mode: Mode) -> None:
    pytest.importorskip("scipy", reason="scipy is not installed (extra 'track')")
    # A car 15 m ahead of a level camera.
    car = Planted((120.0, 82.0, 142.0, 102.0), 0, score=0.8, sigma=0.02)
    model = make_model(tmp_path / "road.onnx", input_size=(192, 320), planted=(car,))
    matrix = (200.0, 0.0, 160.0, 0.0, 200.0, 80.0, 0.0, 0.0, 1.0)
    bag = write_bag(tmp_path / "bag.mcap", [image(each) for each in pictures(8, (192, 320))], matrix=matrix)
    run = alone(bag, model, mode, parameters={"tracking": True, "position": True, "camera_height": 1.65}).run
    assert run.counters.answered >= 6
    tracks = read_bag_tracks(tmp_path / "run" / "answers.mcap")
    places, projection = read_bag_places(tmp_path / "run" / "answers.mcap")
    assert projection is not None
    assert {track for each in tracks.values() for track in each.tracks.tolist()} == {1}
    assert len(places) >= 3 and places.keys() <= tracks.keys()
    for each in places.values():
        np.testing.assert_allclose(each.xy[0], (15, 2.2), rtol=0.2)


def test_a_slow_node_drops_what_comes_too_fast(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag.mcap", [image(picture) for picture in pictures(60)])
    model = slow_inference(make_model(tmp_path / "slow.onnx"))
    run = alone(bag, model, "realtime", rate_hz=120.0, parameters={"threads": 1}).run
    assert run.counters.played == 60 == run.counters.answered + run.counters.dropped
    assert 0 < run.counters.answered < 60
    assert run.counters.failed == 0
    assert [frame.dropped for frame in run.frames].count(True) == run.counters.dropped
    assert len(frames_of(tmp_path / "run")) == run.counters.answered
    assert run.score_threshold == pytest.approx(0.3)  # from the card
    published = [frame.published_s for frame in run.frames]
    assert published == sorted(published)


def test_a_node_that_dies_ends_the_run_with_what_there_is(tmp_path: Path, tiny_model: Path) -> None:
    bag = write_bag(tmp_path / "bag.mcap", [image(picture) for picture in pictures(8)])

    def kill_after_three(log: FrameLog) -> None:
        if len(log) == 3:
            os.kill(perception_child(), signal.SIGKILL)

    outcome = alone(bag, tiny_model, on_progress=kill_after_three)
    assert "the node was ended by signal 9: see" in str(outcome.error)
    run = read_run(tmp_path / "run")
    assert 3 <= run.counters.answered < 8
    assert any("ended early" in note for note in run.notes)
    assert len(frames_of(tmp_path / "run")) == run.counters.answered


def test_an_interrupted_run_keeps_what_there_is(through: Replay, tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag.mcap", [image(picture) for picture in pictures(8)])

    def interrupt(log: FrameLog) -> None:
        if len(log) == 3:
            signal.raise_signal(signal.SIGINT)

    outcome = through(bag, on_progress=interrupt)
    assert outcome.interrupted and outcome.error is None
    assert outcome.run.counters == ReplayCounters(3, 3, 0, 0)
    assert len(frames_of(tmp_path / "run")) == 3


def test_a_running_node_that_leaves_ends_the_run(tmp_path: Path, tiny_model: Path) -> None:
    bag = write_bag(tmp_path / "bag.mcap", [image(pictures(1)[0])] * 200)
    process = NodeProcess(tmp_path / "leaving.log", {"model": tiny_model, "autostart": False}, "leaving")
    try:
        options = ReplayOptions(bag, tmp_path / "run", "realtime", node="/leaving")
        outcome = replay(options, lambda log: process.stop() if log.answered >= 4 else None)
    finally:
        process.stop()
    assert "node /leaving is gone" in str(outcome.error)
    assert 4 <= outcome.run.counters.answered < outcome.run.counters.played < 200
