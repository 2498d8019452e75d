"""Tracks and places of the node in this process: ids, covariances, places, live parameters, what each needs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from factories import make_image

pytest.importorskip("rclpy", reason="ROS 2 is not installed")
pytest.importorskip("scipy", reason="scipy is not installed (extra 'track')")

from rclpy.parameter import Parameter
from ros.drive import CAMERA_HEIGHT, CLASSES, HEIGHT, MATRIX, SIZE, WIDTH, Drive, centres, covariances, ids, locate, of
from ros.given import OK, SUCCESS, WARN
from ros.harness import Ros
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray, Detection3DArray

from gaussian_yolo_node.position import CLASS_SIZES, CameraPose, GroundTracks
from gaussian_yolo_node.ros import outputs
from gaussian_yolo_node.ros.messages import VARIANCE_INDICES, detections_from_message, image_to_message, stamp_seconds
from gaussian_yolo_node.ros.road import Road
from gaussian_yolo_node.ros.transforms import pose_matrix
from gaussian_yolo_node.tracking import Tracker

LEVEL = {"position": True, "camera_height": CAMERA_HEIGHT}


class TestTracks:
    def test_ids_and_filtered_boxes_are_the_trackers(self, ros: Ros, road_model: Path) -> None:
        drive, tracker = Drive(ros, road_model, tracking=True), Tracker(CLASSES)
        for number in range(4):
            message = drive.frame_with(drive.tracks, number)
            detected = of(ros.detections, drive.header(number))
            detections = detections_from_message(detected, CLASSES)
            tracks = tracker.update(detections, stamp_seconds(message.header), SIZE)
            assert message.header == detected.header
            assert ids(message) == [str(track) for track in tracks.ids]
            by_row = dict(zip(tracks.rows, tracks.ids, strict=True))
            assert ids(detected) == [str(by_row.get(row, "")) for row in range(len(detections))]
            variances = covariances(message).reshape(-1, 36)
            np.testing.assert_allclose(variances[:, VARIANCE_INDICES], tracks.sigmas**2)
            assert np.count_nonzero(variances) == 4 * len(tracks)
            np.testing.assert_allclose(centres(message)[:, 0], tracks.boxes[:, ::2].mean(axis=1))
        assert ids(message) == ["1", "2"]

    def test_no_id_before_a_track_is_confirmed_nor_without_tracking(self, ros: Ros, road_model: Path) -> None:
        drive = Drive(ros, road_model, tracking=True)
        assert ids(drive.frame(0)) == ["", ""]
        assert ids(drive.frame(1)) == ["1", "2"]
        assert not drive.set(tracking=False)
        assert ids(drive.frame(2)) == ["", ""]
        assert not drive.set(tracking=True)
        assert ids(drive.frame(3)) == ["1", "2"]

    def test_ids_survive_silence_a_restart_of_the_camera_both_and_another_size(
        self, ros: Ros, road_model: Path
    ) -> None:
        drive = Drive(ros, road_model, tracking=True)

        def restart() -> None:
            drive.node.trigger_deactivate()
            drive.node.trigger_activate()
            ros.until_subscribed(drive.publisher)

        assert [ids(drive.frame(number)) for number in range(3)][-1] == ["1", "2"]
        assert ids(drive.frame(8)) == ["1", "2"]
        restart()
        assert ids(drive.frame(9)) == ["1", "2"]
        restart()
        assert ids(drive.frame(14)) == ["1", "2"]
        assert ids(drive.frame(15, (2 * HEIGHT, 2 * WIDTH))) == ["1", "2"]

    def test_ids_survive_a_change_of_canvas(self, ros: Ros, driving_dir: Path) -> None:
        image = cv2.imread(str(sorted((driving_dir / "kitti/drive_0011/image").iterdir())[0]))
        assert image is not None
        drive = Drive(ros, Path("csp_nano_driving"), tracking=True, input_size="256x832")
        tracked: list[Detection2DArray] = []
        for number in range(6):
            if number == 3:
                drive.node.trigger_deactivate()
                assert not drive.set(input_size="320x1024")
                drive.node.trigger_activate()
                ros.until_subscribed(drive.publisher)
            drive.publisher.publish(image_to_message(image, drive.header(number)))
            tracked.append(ros.until(lambda n=number: of(drive.tracks, drive.header(n)), f"tracks of frame {number}"))
        before, after = ({each.id: each.bbox.center.position for each in tracked[n].detections} for n in (2, 5))
        assert len(before) >= 2 and len(before.keys() & after.keys()) >= 2
        for track in before.keys() & after.keys():
            assert abs(before[track].x - after[track].x) < 10

    def test_tracking_without_scipy_says_what_to_install(
        self, ros: Ros, road_model: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in [name for name in sys.modules if name.startswith("gaussian_yolo_node.tracking")]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, "scipy.optimize", None)
        node = ros.refused("install python3-scipy", road_model, image_topic="/camera/image_raw", tracking=True)
        assert node.set_parameters([Parameter("tracking", value=False)])[0].successful
        assert node.trigger_configure() == SUCCESS
        (result,) = node.set_parameters([Parameter("tracking", value=True)])
        assert not result.successful and "install python3-scipy" in result.reason


class TestPlaces:
    def test_are_the_locators_in_the_base_frame(self, ros: Ros, road_model: Path) -> None:
        drive = Drive(ros, road_model, **LEVEL, base_frame="road")
        drive.give_camera_info()
        message = drive.frame_with(drive.places, 0)
        detected, places = of(ros.detections, drive.header(0)), locate(drive.detections(0))
        assert (message.header.frame_id, message.header.stamp) == ("road", detected.header.stamp)
        assert places.known.all() and len(message.detections) == 2
        pose = CameraPose.level(CAMERA_HEIGHT)
        for each, xy, covariance, twin in zip(
            message.detections, places.xy, places.covariance, detected.detections, strict=True
        ):
            (result,) = each.results
            assert result.hypothesis == twin.results[0].hypothesis
            size = CLASS_SIZES[result.hypothesis.class_id]
            position, orientation = each.bbox.center.position, each.bbox.center.orientation
            assert [position.x, position.y, position.z] == pytest.approx([*xy, size.height / 2])
            assert [orientation.x, orientation.y, orientation.z, orientation.w] == [0, 0, 0, 1]
            assert [each.bbox.size.x, each.bbox.size.y, each.bbox.size.z] == [size.length, size.width, size.height]
            assert result.pose.pose == each.bbox.center
            full = np.reshape(result.pose.covariance, (6, 6))
            np.testing.assert_allclose(full[:2, :2], covariance)
            height = (
                (size.height_sigma / 2) ** 2
                + pose.height_sigma**2
                + (xy[0] * pose.pitch_sigma) ** 2
                + (xy[1] * pose.roll_sigma) ** 2
            )
            rotations = [pose.roll_sigma**2, pose.pitch_sigma**2, np.pi**2 / 3]
            np.testing.assert_allclose(np.diag(full)[2:], [height, *rotations])
            assert not full[2:, :2].any() and not full[:2, 2:].any()
        np.testing.assert_allclose(centres(message)[:, 0], [15, 12], rtol=0.2)
        assert ids(message) == ["", ""]

    def test_in_the_cameras_frame_they_project_to_their_boxes(self, ros: Ros, road_model: Path) -> None:
        drive = Drive(ros, road_model, **LEVEL, camera_pitch=0.01, camera_roll=0.02)
        drive.give_camera_info()
        message = drive.frame_with(drive.places, 0)
        assert message.header.frame_id == "camera" and message.detections
        pose = CameraPose.level(CAMERA_HEIGHT, 0.01, 0.02)
        detections = drive.detections(0)
        places = locate(detections, pose)
        places = places[places.known]
        for each, xy, covariance in zip(message.detections, places.xy, places.covariance, strict=True):
            center, full = each.bbox.center, np.reshape(each.results[0].pose.covariance, (6, 6))
            point = np.array([center.position.x, center.position.y, center.position.z])
            np.testing.assert_allclose((pose.rotation @ point + pose.translation)[:2], xy)
            q = center.orientation
            turn = pose_matrix(np.zeros(3), np.array([q.x, q.y, q.z, q.w]))[:3, :3]
            np.testing.assert_allclose(turn, pose.rotation.T, atol=1e-9)  # its z axis is the ground's
            np.testing.assert_allclose((turn.T @ full[:3, :3] @ turn)[:2, :2], covariance, rtol=1e-9, atol=1e-12)
            u, v, w = np.reshape(MATRIX, (3, 3)) @ point
            rows = [i for i, box in enumerate(detections.boxes) if box[0] < u / w < box[2] and box[1] < v / w < box[3]]
            assert len(rows) == 1

    def test_of_tracks_are_filtered_and_go_on_while_coasting(self, ros: Ros, road_model: Path) -> None:
        drive = Drive(ros, road_model, tracking=True, **LEVEL, base_frame="road")
        drive.give_camera_info()
        tracker, ground = Tracker(CLASSES), GroundTracks()
        for number in range(5):
            message = drive.frame_with(drive.places, number)
            detections = drive.detections(number)
            stamp_s = stamp_seconds(drive.header(number))
            tracks = tracker.update(detections, stamp_s, SIZE)
            motion = ground.update(stamp_s, tracks.ids, locate(detections[tracks.rows]))
            assert ids(message) == [str(track) for track in tracks.ids]
            np.testing.assert_allclose(centres(message), motion.xy)
            np.testing.assert_allclose(covariances(message)[:, :2, :2], motion.covariance[:, :2, :2])
        before = covariances(message)
        assert not drive.set(score_threshold=0.95)  # nothing is seen
        message = drive.frame_with(drive.places, 5)
        assert ids(message) == ["1", "2"]
        assert ids(of(ros.detections, drive.header(5))) == []
        assert (covariances(message)[:, 0, 0] > before[:, 0, 0]).all()

    @pytest.mark.parametrize("encoding", ["16UC1", "32FC1"])
    def test_a_depth_image_of_the_frames_time_is_a_witness(self, ros: Ros, road_model: Path, encoding: str) -> None:
        drive = Drive(ros, road_model, **LEVEL, base_frame="road", depth_topic="/camera/depth")
        drive.give_camera_info()
        ros.until_status(WARN, "no depth image on /camera/depth")
        publisher = ros.observer.create_publisher(Image, "/camera/depth", 10)
        ros.until_subscribed(publisher)
        metres = np.full(SIZE, 13.5, np.float32)
        depth = metres if encoding == "32FC1" else (1000 * metres).astype(np.uint16)
        late = drive.header(1)
        late.stamp.nanosec = (late.stamp.nanosec + 30_000_000) % 1_000_000_000
        late.stamp.sec += late.stamp.nanosec < 30_000_000
        publisher.publish(depth_message(depth, encoding, late))
        ros.until(lambda: drive.node._outputs.road._topics._images, "the depth image")
        for number, expected in ((0, None), (1, depth)):
            message = drive.frame_with(drive.places, number)
            places = locate(drive.detections(number), depth=expected)
            np.testing.assert_allclose(centres(message)[:, 0], places.xy[places.known, 0])
        ros.until_status(OK, "topic")

    def test_do_without_an_unusable_depth_image(self, ros: Ros, road_model: Path) -> None:
        drive = Drive(ros, road_model, **LEVEL, depth_topic="/camera/depth")
        drive.give_camera_info()
        publisher = ros.observer.create_publisher(Image, "/camera/depth", 10)
        ros.until_subscribed(publisher)
        publisher.publish(image_to_message(make_image(*SIZE), drive.header(0)))
        ros.until_status(WARN, "the depth image's encoding is 'bgr8': publish 16UC1 in mm or 32FC1 in m; positions do")
        assert len(drive.frame_with(drive.places, 0).detections) == 2

    @pytest.mark.parametrize(
        ("fields", "reason"),
        [
            ({"k": [0.0] * 9}, "is it calibrated?"),
            ({"height": 0}, "the CameraInfo has no width and height"),
            (
                {"distortion_model": "equidistant", "d": [0.1] * 4},
                "'equidistant' with 4 coefficients: rectify the images",
            ),
        ],
    )
    def test_an_unusable_camera_info_is_a_warning_and_detections_go_on(
        self, ros: Ros, road_model: Path, fields: dict[str, Any], reason: str
    ) -> None:
        drive = Drive(ros, road_model, **LEVEL)
        drive.give_camera_info(**fields)
        assert len(drive.frame(0).detections) == 2
        ros.until_status(WARN, reason)
        assert not drive.places

    def test_wait_for_the_cameras_matrix(self, ros: Ros, road_model: Path) -> None:
        drive = Drive(ros, road_model, **LEVEL)
        assert len(drive.frame(0).detections) == 2
        ros.until_status(WARN, "positions wait for the camera's matrix on /camera/camera_info", part="input")
        assert not drive.places
        drive.give_camera_info()
        assert drive.frame_with(drive.places, 1).detections
        ros.until_status(OK, "topic", part="input")

    def test_of_a_source_wait_for_the_nodes_own_topic(self, ros: Ros, road_model: Path, tmp_path: Path) -> None:
        cv2.imwrite(str(tmp_path / "0.png"), make_image(*SIZE))
        node = ros.node(model=str(road_model), source=str(tmp_path), loop=True, **LEVEL)
        places: list[Detection3DArray] = []
        ros.observer.create_subscription(Detection3DArray, "/perception/detections_3d", places.append, 10)
        publisher = ros.observer.create_publisher(CameraInfo, "/perception/camera_info", 10)
        node.trigger_configure()
        node.trigger_activate()
        ros.until_status(WARN, "positions wait for the camera's matrix on /perception/camera_info")
        ros.until_subscribed(publisher)
        publisher.publish(CameraInfo(height=HEIGHT, width=WIDTH, k=MATRIX))
        ros.until(lambda: places and places[-1].detections, "places")
        assert places[-1].header.frame_id == "camera"

    def test_need_the_cameras_height(self, ros: Ros, road_model: Path) -> None:
        reason = "positions need the height of the camera above the ground: set camera_height, m"
        ros.refused(reason, road_model, image_topic="/camera/image_raw", position=True)

    @pytest.mark.parametrize("name", ["camera_info_topic", "depth_topic"])
    def test_an_impossible_topic_name_is_an_error(self, ros: Ros, road_model: Path, name: str) -> None:
        reason = f"parameter '{name}' is 'no topic'"
        node = ros.refused(reason, road_model, image_topic="/camera/image_raw", **{name: "no topic"})
        assert node.set_parameters([Parameter(name, value="")])[0].successful
        assert node.trigger_configure() == SUCCESS
        (result,) = node.set_parameters([Parameter(name, value="no/2")])
        assert not result.successful and f"parameter '{name}' is 'no/2'" in result.reason

    def test_parameters_are_live(self, ros: Ros, road_model: Path) -> None:
        drive = Drive(ros, road_model)
        assert "set camera_height" in drive.set(position=True)
        assert not drive.node.get_parameter("position").value
        assert drive.node.count_subscribers("/camera/camera_info") == 0
        assert not drive.set(**LEVEL)
        drive.give_camera_info()
        first = drive.frame_with(drive.places, 0)
        assert first.header.frame_id == "camera"
        assert not drive.set(base_frame="road", camera_height=2 * CAMERA_HEIGHT, camera_pitch_sigma=0.5)
        second = drive.frame_with(drive.places, 1)
        assert second.header.frame_id == "road"
        places = locate(drive.detections(1), CameraPose.level(2 * CAMERA_HEIGHT, pitch_sigma=0.5))
        np.testing.assert_allclose(centres(second)[:, 0], places.xy[places.known, 0])
        assert not drive.set(position=False)
        assert drive.node.count_subscribers("/camera/camera_info") == 0
        drive.places.clear()
        drive.frame(2)
        drive.frame(3)
        assert not drive.places

    def test_subscriptions_end_with_the_activity(self, ros: Ros, road_model: Path) -> None:
        drive = Drive(ros, road_model, **LEVEL, depth_topic="/camera/depth")
        topics = ("/camera/camera_info", "/camera/depth")
        assert [drive.node.count_subscribers(name) for name in topics] == [1, 1]
        drive.give_camera_info()
        drive.node.trigger_deactivate()
        assert [drive.node.count_subscribers(name) for name in topics] == [0, 0]
        assert not drive.set(camera_roll=0.1)
        assert [drive.node.count_subscribers(name) for name in topics] == [0, 0]
        drive.node.trigger_activate()
        assert [drive.node.count_subscribers(name) for name in topics] == [1, 1]
        ros.until_subscribed(drive.publisher)
        assert drive.frame_with(drive.places, 0)  # the matrix is still known
        drive.node.trigger_deactivate()
        drive.node.trigger_cleanup()
        names = [name for name, _ in drive.node.get_publisher_names_and_types_by_node("perception", "/")]
        assert not {"/perception/tracks", "/perception/detections_3d"} & set(names)


def test_values_out_of_range_are_refused(ros: Ros, road_model: Path) -> None:
    node = ros.node(model=str(road_model))
    for name, value in (("camera_height", -1.0), ("camera_pitch", 2.0), ("camera_roll_sigma", -0.1)):
        (result,) = node.set_parameters([Parameter(name, value=value)])
        assert not result.successful and name in result.reason


@pytest.mark.parametrize("tracking", [True, False])
def test_the_live_view_shows_the_places(ros: Ros, road_model: Path, tracking: bool) -> None:
    pytest.importorskip("aiohttp", reason="aiohttp is not installed (extra 'view')")
    from view.viewer import Viewer, free_port, watch

    port = free_port()
    drive = Drive(ros, road_model, subscribed=False, **LEVEL, tracking=tracking, view_port=port)
    drive.give_camera_info()

    async def work(viewer: Viewer) -> None:
        for number in range(5):
            await viewer.ask()
            ros.until(lambda: drive.node._outputs._view.wanted, "a page that looks")
            drive.frame(number)
            while not (answer := await viewer.hear())[1]:
                await viewer.ask()
            (frame,) = answer[0]["frames"]
        assert frame["on_road"] and len(frame["objects"]) == 2
        for each, distance in zip(frame["objects"], (15, 12), strict=True):
            assert each["place"][0] == pytest.approx(distance, rel=0.2)
            assert each["covariance"][0] > each["covariance"][2] > 0
            assert (("id" in each), ("velocity" in each)) == (tracking, tracking)

    watch(f"http://127.0.0.1:{port}/", work)


class TestCost:
    def test_nothing_is_computed_unless_it_is_wanted(
        self, ros: Ros, road_model: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        calls: list[str] = []

        def counted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
            return lambda *arguments: calls.append(name) or function(*arguments)

        for owner, name in (
            (Road, "place"),
            (outputs, "tracks_to_message"),
            (outputs, "places_to_message"),
            (Tracker, "update"),
        ):
            monkeypatch.setattr(owner, name, counted(name, getattr(owner, name)))
        drive = Drive(ros, road_model, subscribed=False)
        for number in range(3):
            drive.frame(number)
        assert not calls
        assert not drive.set(tracking=True, **LEVEL)
        drive.give_camera_info()
        for number in range(3, 6):
            drive.frame(number)
        assert set(calls) == {"update"}


def depth_message(depth: np.ndarray, encoding: str, header: Header) -> Image:
    message = image_to_message(np.zeros((*SIZE, 3), np.uint8), header)
    message.encoding, message.step = encoding, WIDTH * depth.itemsize
    message.data = depth.tobytes()
    return message
