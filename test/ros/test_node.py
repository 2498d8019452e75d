"""The node in this process: lifecycle, live parameters, bad input, published messages."""

from __future__ import annotations

import json
import resource
import shutil
import struct
import threading
import zlib
from array import array
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from factories import PLANTED, make_image, make_model

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from builtin_interfaces.msg import Time
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.parameter import Parameter
from ros.given import ERROR, FAILURE, OK, SUCCESS, WARN, answer, header, labels, on_topic, picture
from ros.harness import FRAMES, Ros
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image

from gaussian_yolo_node.ros import outputs
from gaussian_yolo_node.ros.messages import image_to_compressed, image_to_message, read_sigmas


def png(width: int, height: int, *, claim: int) -> bytes:
    """A PNG of zeros; `claim` is added to the length of its pixels' chunk."""
    pixels = zlib.compress(bytes(32))
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0), 0), (b"IDAT", pixels, claim)]
    parts = [
        struct.pack(">I", len(content) + more) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content, more in (*chunks, (b"IEND", b"", 0))
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


BOMBS = (png(4, 4, claim=0xFFFF0000), png(30_000, 30_000, claim=0))


class TestLifecycle:
    def test_through_its_services_as_a_manager_would(self, ros: Ros, tiny_model: Path, folder: Path) -> None:
        ros.node(model=str(tiny_model), source=str(folder), playback="fastest", loop=True)
        change = ros.observer.create_client(ChangeState, "/perception/change_state")
        get = ros.observer.create_client(GetState, "/perception/get_state")

        def call(client: Any, request: Any) -> Any:
            future = client.call_async(request)
            ros.until(future.done, f"an answer of {client.srv_name}")
            return future.result()

        ros.until(lambda: change.service_is_ready() and get.service_is_ready(), "the lifecycle services")
        states = []
        for transition in ("configure", "activate", "deactivate", "cleanup", "shutdown"):
            request = ChangeState.Request()
            request.transition.label = transition
            assert call(change, request).success, transition
            states.append(call(get, GetState.Request()).current_state.label)
        assert states == ["inactive", "active", "inactive", "unconfigured", "finalized"]

    def test_detects_only_while_active(self, ros: Ros, tiny_model: Path, folder: Path) -> None:
        node = ros.node(model=str(tiny_model), source=str(folder), playback="fastest", loop=True)
        ros.until_status(OK, "unconfigured")
        assert node.trigger_configure() == SUCCESS
        ros.until_status(OK, "inactive")
        assert ros.detections == []
        for _ in range(2):
            assert node.trigger_activate() == SUCCESS
            ros.until(lambda: len(ros.detections) > 3, "detections")
            assert node.trigger_deactivate() == SUCCESS
            ros.until_status(OK, "inactive")
            ros.detections.clear()
            ros.until_status(OK, "inactive")
            assert ros.detections == []

    def test_starts_by_itself(self, ros: Ros, tiny_model: Path, folder: Path) -> None:
        ros.node(model=str(tiny_model), source=str(folder), autostart=True)
        ros.until(lambda: ros.detections, "detections")

    def test_configured_again_with_another_model(self, ros: Ros, tiny_model: Path, tmp_path: Path) -> None:
        other = make_model(tmp_path / "other.onnx", planted=(), card_overrides={"name": "other"})
        node, publisher = on_topic(ros, tiny_model)
        publisher.publish(picture(1))
        assert len(answer(ros, 1).detections) == 2
        node.trigger_deactivate()
        node.trigger_cleanup()
        node.set_parameters([Parameter("model", value=str(other))])
        assert node.trigger_configure() == SUCCESS
        assert node.trigger_activate() == SUCCESS
        ros.until_subscribed(publisher)
        publisher.publish(picture(2))
        assert len(answer(ros, 2).detections) == 0
        ros.until(
            lambda: any(value.value.endswith("other.onnx") for value in ros.statuses[-1].values),
            "a status with the other model's name",
        )


class TestCannotStart:
    @pytest.mark.parametrize(
        ("parameters", "reason"),
        [
            ({"model": "nowhere.onnx"}, "nowhere.onnx"),
            ({"score_threshold": 2.0}, "parameter 'score_threshold' lies outside 0..0.99"),
            ({"runtime": "abacus"}, "one of: auto, openvino, onnxruntime"),
            ({"source": ""}, "no input"),
            ({"image_topic": "/image"}, "two inputs"),
        ],
        ids=lambda value: "" if isinstance(value, str) else str(value),
    )
    def test_bad_parameters_fail_configure(
        self, ros: Ros, tiny_model: Path, folder: Path, parameters: dict[str, Any], reason: str
    ) -> None:
        ros.refused(reason, tiny_model, **{"source": str(folder), **parameters})
        assert reason in ros.until_status(ERROR, reason)["last_error"]

    @pytest.mark.parametrize("kind", ["truncated", "without card", "empty"])
    def test_bad_models_fail_configure(self, ros: Ros, tmp_path: Path, folder: Path, kind: str) -> None:
        model = make_model(tmp_path / "bad.onnx", with_card=kind != "without card")
        if kind == "truncated":
            model.write_bytes(model.read_bytes()[:500])
        if kind == "empty":
            model.write_bytes(b"")
        ros.refused("bad.onnx", model, source=str(folder))

    @pytest.mark.parametrize("kind", ["missing", "empty folder", "no video"])
    def test_bad_files_fail_activate(self, ros: Ros, tiny_model: Path, tmp_path: Path, kind: str) -> None:
        source = tmp_path / "thing.mp4"
        if kind == "empty folder":
            source.mkdir()
        if kind == "no video":
            source.write_bytes(b"no video")
        ros.refused("thing.mp4", tiny_model, "activate", source=str(source))

    def test_mended_and_tried_again(self, ros: Ros, tiny_model: Path, folder: Path) -> None:
        node = ros.node(model="nowhere.onnx", source=str(folder), score_threshold=2.0)
        assert node.trigger_configure() == FAILURE
        node.set_parameters([Parameter("model", value=str(tiny_model)), Parameter("score_threshold", value=0.5)])
        assert node.trigger_configure() == SUCCESS
        assert node.trigger_activate() == SUCCESS
        ros.until(lambda: ros.detections, "detections")

    def test_a_streams_password_is_not_published(self, ros: Ros, tiny_model: Path) -> None:
        ros.active(tiny_model, source="rtsp://driver:secret@127.0.0.1:9/stream")
        ros.until_status(ERROR, "driver:***@")
        for status in ros.statuses:
            assert not any("secret" in text for text in (status.message, *(item.value for item in status.values)))
        assert "rtsp://driver:***@127.0.0.1:9/stream" in {item.value for item in ros.statuses[-1].values}

    def test_a_camera_that_is_not_there_is_waited_for(self, ros: Ros, tiny_model: Path) -> None:
        ros.active(tiny_model, source="97")
        values = ros.until_status(ERROR, "camera 97")
        assert values["source_state"] == "lost"
        ros.until_status(ERROR, "camera 97")


class TestLiveParameters:
    def test_thresholds(self, ros: Ros, tiny_model: Path) -> None:
        node, publisher = on_topic(ros, tiny_model)
        for second, threshold, count in ((1, 0.0, 2), (2, 0.7, 1), (3, 0.9, 0), (4, 0.0, 2)):
            (result,) = node.set_parameters([Parameter("score_threshold", value=threshold)])
            assert result.successful
            publisher.publish(picture(second))
            assert len(answer(ros, second).detections) == count

    def test_an_impossible_threshold_is_refused_with_a_reason(self, ros: Ros, tiny_model: Path) -> None:
        node, publisher = on_topic(ros, tiny_model, score_threshold=0.7)
        (result,) = node.set_parameters([Parameter("score_threshold", value=2.0)])
        assert not result.successful
        assert "out of range" in result.reason
        publisher.publish(picture(1))
        assert len(answer(ros, 1).detections) == 1

    def test_what_is_in_use_is_refused_with_the_way_out(self, ros: Ros, tiny_model: Path, folder: Path) -> None:
        node = ros.active(tiny_model, source=str(folder))
        for name, value in (("model", "other"), ("source", "0"), ("threads", 1)):
            (result,) = node.set_parameters([Parameter(name, value=value)])
            assert not result.successful
            assert f"'{name}' is read when the node is" in result.reason
            assert "first" in result.reason

    def test_variance_vote(self, ros: Ros, tiny_model: Path, folder: Path) -> None:
        node = ros.active(tiny_model, source=str(folder))
        for value, successful in ((True, True), (False, True), ("card", True), ("perhaps", False)):
            (result,) = node.set_parameters([Parameter("variance_vote", value=value)])
            assert result.successful is successful

    def test_criterion(self, ros: Ros, tiny_model: Path) -> None:
        node, publisher = on_topic(ros, tiny_model, criterion="confidence")
        assert ros.until_status(OK, "topic")["criterion"] == "confidence"
        for second, criterion in ((1, ""), (2, "gaussian"), (3, "confidence")):
            if criterion:
                (result,) = node.set_parameters([Parameter("criterion", value=criterion)])
                assert result.successful
            publisher.publish(picture(second))
            scores = [each.results[0].hypothesis.score for each in answer(ros, second).detections]
            certainty = [1 if criterion == "gaussian" else 1 - planted.sigma for planted in PLANTED]
            expected = [planted.score / part for planted, part in zip(PLANTED, certainty, strict=True)]
            assert scores == pytest.approx(expected, abs=5e-3)
        (result,) = node.set_parameters([Parameter("criterion", value="luck")])
        assert not result.successful


class TestBadFrames:
    def test_bad_images_are_reported_and_the_next_ones_detected(self, ros: Ros, tiny_model: Path) -> None:
        _, publisher = on_topic(ros, tiny_model)
        cases: tuple[tuple[dict[str, Any], str], ...] = (
            ({"step": 7}, "step is 7 bytes"),
            ({"height": 9}, "but 9 rows"),
            ({"data": array("B", b"123")}, "image data is 3 bytes"),
            ({"encoding": "16UC1"}, "'16UC1' is not supported"),
            ({"encoding": "nv24"}, "'nv24' is not supported"),
        )
        for number, (fields, reason) in enumerate(cases, start=1):
            publisher.publish(picture(100 + number, **fields))
            ros.until_status(ERROR, reason)
            publisher.publish(picture(number))
            assert len(answer(ros, number).detections) == 2
            values = ros.until_status(OK, "topic")
            counts = [int(values[f"frames_{what}"]) for what in ("received", "processed", "skipped")]
            assert counts == [2 * number, number, number]
            assert reason in values["last_error"]

    def test_a_bad_compressed_image(self, ros: Ros, tiny_model: Path) -> None:
        publisher = ros.observer.create_publisher(CompressedImage, "/image/compressed", 10)
        ros.active(tiny_model, image_topic="/image", image_transport="compressed")
        ros.until_subscribed(publisher)
        publisher.publish(CompressedImage(header=header(1), format="jpeg", data=array("B", b"nothing")))
        ros.until_status(ERROR, "cannot be read")
        publisher.publish(image_to_compressed(make_image(), header(2)))
        answer(ros, 2)
        ros.until_status(OK, "topic")

    def test_pictures_that_are_bombs_cost_no_good_one(self, ros: Ros, tiny_model: Path) -> None:
        """At 10 Hz among good ones at 30 Hz: 79 bytes that claim 4 GB, and a picture of 900 megapixels."""
        publisher = ros.observer.create_publisher(CompressedImage, "/image/compressed", 10)
        node = ros.active(tiny_model, image_topic="/image", image_transport="compressed", target_rate=0.0)
        ros.until_subscribed(publisher)
        publisher.publish(image_to_compressed(make_image(), header(1)))
        answer(ros, 1)

        def taken(message: CompressedImage) -> None:
            """Publish, and wait until the node has the message: its subscription keeps only the newest."""
            before = node._statistics.received
            publisher.publish(message)
            ros.until(lambda: node._statistics.received > before, "the message")

        memory = resource.getrlimit(resource.RLIMIT_AS)
        held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (held + (500 << 20), memory[1]))
        try:
            for number in range(2, 32):
                taken(image_to_compressed(make_image(seed=number), header(number)))
                if number % 3 == 0:  # while the good one waits for the worker, or is with it
                    for bomb in BOMBS:
                        taken(CompressedImage(header=header(1000 + number), format="png", data=array("B", bomb)))
                answer(ros, number)
        finally:
            resource.setrlimit(resource.RLIMIT_AS, memory)
        assert [message.header.stamp.nanosec for message in ros.detections] == list(range(1, 32))
        values = ros.until_status(OK, "topic")
        assert (values["frames_received"], values["frames_processed"], values["frames_skipped"]) == ("51", "31", "20")
        assert "900 megapixels, and at most 64 are read" in values["last_error"]
        assert node.get_parameter("max_megapixels").value == 64.0

    def test_the_limit_of_megapixels_is_a_parameter(self, ros: Ros, tiny_model: Path) -> None:
        _, publisher = on_topic(ros, tiny_model, max_megapixels=0.005)
        publisher.publish(picture(1))
        ros.until_status(ERROR, "image is too large: it has 0 megapixels, and at most 0.005 are read")

    def test_nan_in_a_head(self, ros: Ros, tmp_path: Path) -> None:
        model = make_model(tmp_path / "fragile.onnx", nan_when_black=True)
        _, publisher = on_topic(ros, model)
        publisher.publish(image_to_message(np.zeros((64, 96, 3), np.uint8), header(1)))
        ros.until_status(ERROR, "NaN")
        publisher.publish(picture(2))
        answer(ros, 2)
        ros.until_status(OK, "topic")

    def test_a_corrupt_file_is_skipped_and_counted(
        self, ros: Ros, tiny_model: Path, folder: Path, tmp_path: Path
    ) -> None:
        broken = tmp_path / "broken"
        shutil.copytree(folder, broken)
        (broken / "005.png").write_bytes(b"no picture")
        ros.active(tiny_model, source=str(broken), playback="fastest")
        values = ros.until_status(OK, "finished")
        assert values["frames_skipped"] == "1"
        assert values["frames_processed"] == str(FRAMES - 1)
        assert values["frames_received"] == str(FRAMES)
        assert "005.png" in values["last_error"]


class TestPublishes:
    def test_stamp_and_frame_id_of_the_image(self, ros: Ros, tiny_model: Path) -> None:
        _, publisher = on_topic(ros, tiny_model)
        message = picture(7)
        publisher.publish(message)
        detections = answer(ros, 7)
        assert detections.header == message.header
        assert labels(detections) == ["car", "pedestrian"]
        assert (read_sigmas(detections) > 0).all()

    def test_every_frame_of_a_folder_as_fast_as_it_goes(self, ros: Ros, tiny_model: Path, folder: Path) -> None:
        ros.active(tiny_model, source=str(folder), playback="fastest", frame_id="roof")
        values = ros.until_status(OK, "finished")
        ros.until(lambda: len(ros.detections) == FRAMES, "detections of every frame")
        assert {message.header.frame_id for message in ros.detections} == {"roof"}
        stamps = [(m.header.stamp.sec, m.header.stamp.nanosec) for m in ros.detections]
        assert stamps == sorted(stamps)
        assert values["frames_processed"] == str(FRAMES)
        assert values["frames_dropped"] == "0"
        assert values["source_state"] == "finished"
        assert float(values["frame_age_p50_ms"]) > 0

    def test_annotated_pictures_are_drawn_only_for_subscribers(
        self, ros: Ros, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        drawn: list[None] = []

        def draw_and_count(*arguments: Any) -> Any:
            drawn.append(None)
            return draw(*arguments)

        draw = outputs.draw_detections
        monkeypatch.setattr(outputs, "draw_detections", draw_and_count)
        _, publisher = on_topic(ros, tiny_model)
        publisher.publish(picture(1))
        answer(ros, 1)
        ros.until_status(OK, "topic")
        assert not drawn

        raw: list[Image] = []
        compressed: list[CompressedImage] = []
        ros.observer.create_subscription(Image, "/perception/image_annotated", raw.append, 10)
        ros.observer.create_subscription(
            CompressedImage, "/perception/image_annotated/compressed", compressed.append, 10
        )

        message = picture(2)

        def published() -> bool:
            publisher.publish(message)
            return bool(raw and compressed)

        ros.until(published, "annotated pictures")
        assert raw[0].header == compressed[0].header == message.header
        assert (raw[0].height, raw[0].width, raw[0].encoding) == (48, 160, "bgr8")
        assert cv2.imdecode(np.frombuffer(compressed[0].data, np.uint8), cv2.IMREAD_COLOR).shape == (48, 160, 3)

    def test_diagnostics_name_model_runtime_and_source(self, ros: Ros, tiny_model: Path, folder: Path) -> None:
        ros.active(tiny_model, source=str(folder), playback="fastest", loop=True)
        values = ros.until_status(OK, "streaming")
        assert ros.statuses[-1].name == "/perception: perception"
        assert ros.statuses[-1].hardware_id == str(folder)  # the camera: several of them must differ
        assert values["model"] == str(tiny_model)
        assert json.loads(values["model_card"])["name"] == "tiny"
        assert len(values["model_hash"]) >= 12
        assert "CPU" in values["runtime"] or "onnx" in values["runtime"].lower()
        assert values["source"] == str(folder)

    def test_simulated_time_stamps_frames(self, ros: Ros, tiny_model: Path, folder: Path) -> None:
        clock = ros.observer.create_publisher(Clock, "/clock", 10)
        node = ros.node(model=str(tiny_model), source=str(folder), playback="fastest", loop=True, use_sim_time=True)

        def clock_is_heard() -> bool:
            clock.publish(Clock(clock=Time(sec=5000)))
            return node.get_clock().now().nanoseconds == 5_000_000_000_000

        ros.until(clock_is_heard, "the node to follow /clock")
        node.trigger_configure()
        node.trigger_activate()
        ros.until(lambda: ros.detections, "detections")
        assert 4990 < ros.detections[0].header.stamp.sec <= 5000


class TestCanvas:
    def test_follows_the_frames_and_the_rate(
        self, ros: Ros, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        ros.active("csp_nano_driving", source=str(folder), playback="fastest", target_rate=1000.0, threads=1)
        values = ros.until_status(WARN, "keeps 1000 Hz")
        assert values["canvas"] == "192x640"
        assert values["target_rate"] == "1000"
        assert values["canvas_choice"].startswith("canvas 192x640 (AP50 car")
        assert values["canvas_accuracy"].startswith("AP50 car")
        assert (tmp_path / "gaussian_yolo" / "network_times.json").is_file()

    @pytest.mark.parametrize(("input_size", "canvas"), [("192x320", "192x320"), ("card", "384x1248")])
    def test_can_be_chosen_by_hand(self, ros: Ros, folder: Path, input_size: str, canvas: str) -> None:
        ros.active("csp_nano_driving", source=str(folder), playback="fastest", input_size=input_size, threads=1)
        values = ros.until_status(OK, "finished")
        assert values["canvas"] == canvas
        assert values["target_rate"] == ""

    def test_a_region_is_searched(self, ros: Ros, tiny_model: Path) -> None:
        _, publisher = on_topic(ros, tiny_model, roi="0.5,0,1,1")
        publisher.publish(picture(1))
        detections = answer(ros, 1).detections
        assert len(detections) == len(PLANTED)
        assert all(each.bbox.center.position.x - each.bbox.size_x / 2 >= 80 for each in detections)

    @pytest.mark.parametrize(
        ("parameters", "step", "message"),
        [
            ({"roi": "0,0,1,1.5"}, "configure", "roi is 0,0,1,1.5; give left,top,right,bottom"),
            ({"roi": "everything"}, "configure", "roi is 'everything'"),
            ({"input_size": "large"}, "configure", "input_size is 'large'; give HEIGHTxWIDTH"),
            ({"input_size": "100x100"}, "activate", "64x96"),
            ({"device": "tpu"}, "configure", "device 'tpu' is not on this machine"),
            ({"target_rate": -1.0}, "configure", "'target_rate' lies outside 0..1000"),
        ],
    )
    def test_bad_settings_are_refused_in_a_sentence(
        self, ros: Ros, tiny_model: Path, folder: Path, parameters: dict[str, Any], step: str, message: str
    ) -> None:
        ros.refused(message, tiny_model, step, source=str(folder), **parameters)


def test_drawing_does_not_delay_detections(ros: Ros, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The frames are answered although drawing the first of them never ends."""
    held = threading.Event()
    monkeypatch.setattr(outputs, "draw_detections", lambda image, *_: held.wait(30) and image)
    ros.observer.create_subscription(Image, "/perception/image_annotated", lambda _: None, 10)
    node, publisher = on_topic(ros, tiny_model)
    ros.until(lambda: node.count_subscribers("/perception/image_annotated"), "the subscription")
    for second in range(1, 6):
        publisher.publish(picture(second))
        answer(ros, second)
    held.set()
