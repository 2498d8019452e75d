from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from data_factory import KITTI_LINE
from exif_pictures import TURNED
from factories import make_image

pytest.importorskip("rosbags", reason="rosbags is not installed")

from gaussian_yolo_node.bags import CAMERA_INFO_TOPIC, IMAGE_TOPIC, INFO_TOPIC, TRUTH_TOPIC
from gaussian_yolo_node.bags.reading import BagError, BagReader, Message
from gaussian_yolo_node.frames.camera_calibration import read_calibration_yaml
from gaussian_yolo_node.frames.image_messages import image_from_compressed, image_from_message
from gaussian_yolo_node.labels import image_size, read_image
from gaussian_yolo_node.labels.bag_making import DEFAULT_START_NS, MakeOptions, make_bag
from gaussian_yolo_node.labels.bag_records import read_bag_truths
from gaussian_yolo_node.labels.sequences import open_sequence
from gaussian_yolo_node.labels.truths import read_ground_truth

SHARED_DRIVE = Path(__file__).parents[3] / "shared" / "data" / "kitti" / "drive_0011"
CALIBRATION = Path(__file__).parents[2] / "calib" / "kitti_left_color.yaml"
STEP_NS = 100_000_000


@pytest.fixture
def drive(tmp_path):
    """Four images, the third one truncated; two are labelled."""
    folder = tmp_path / "drive"
    (folder / "image").mkdir(parents=True)
    (folder / "label_2").mkdir()
    for index, suffix in enumerate((".png", ".jpg", ".jpg", ".bmp")):
        cv2.imwrite(str(folder / "image" / f"{index:06d}{suffix}"), make_image(24, 32, seed=index))
    cut = folder / "image" / "000002.jpg"
    cut.write_bytes(cut.read_bytes()[:-30])
    line = KITTI_LINE.replace("0.00 0", "0.25 2", 1)
    (folder / "label_2" / "000000.txt").write_text(
        line.format(kind="Car", box="1.1 2.2 11.3 9.4") + "\n" + KITTI_LINE.format(kind="DontCare", box="0 0 5 5")
    )
    (folder / "label_2" / "000001.txt").write_text("")
    return folder


def messages(path: Path, topic: str) -> list[Message]:
    with BagReader(path) as reader:
        assert reader.notes == []
        return list(reader.messages({topic})) if topic in reader.topics else []


def stamp(message: Message) -> int:
    header = message.decode().header
    return header.stamp.sec * 10**9 + header.stamp.nanosec


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("bag.mcap", MakeOptions()),
        ("bag", MakeOptions(storage="sqlite3", compression="zstd")),
        ("bag", MakeOptions(compression="zstd")),
    ],
)
def test_raw_images_are_those_of_the_files(tmp_path, drive, name, options):
    summary = make_bag(open_sequence(drive), tmp_path / name, options)
    assert (summary.frames, summary.labelled, summary.objects) == (3, 2, 2)
    assert summary.skipped == {"000002.jpg": "the JPEG is cut short"}
    images = messages(tmp_path / name, IMAGE_TOPIC)
    for message, file in zip(images, ("000000.png", "000001.jpg", "000003.bmp"), strict=True):
        np.testing.assert_array_equal(image_from_message(message.decode()), cv2.imread(str(drive / "image" / file)))
    # The unreadable frame leaves a gap.
    assert [stamp(message) - DEFAULT_START_NS for message in images] == [0, STEP_NS, 3 * STEP_NS]
    assert [message.stamp_ns for message in images] == [stamp(message) for message in images]
    assert images[0].decode().header.frame_id == "camera"
    assert messages(tmp_path / name, CAMERA_INFO_TOPIC) == []


def test_compressed_images_are_the_files(tmp_path, drive):
    make_bag(open_sequence(drive), tmp_path / "bag.mcap", MakeOptions(image="compressed", frame_id="left"))
    found = [message.decode() for message in messages(tmp_path / "bag.mcap", f"{IMAGE_TOPIC}/compressed")]
    assert [message.format for message in found] == ["png", "jpeg", "png"]
    for message, file in zip(found, ("000000.png", "000001.jpg", "000003.bmp"), strict=True):
        path = drive / "image" / file
        if path.suffix != ".bmp":  # subscribers do not support BMP
            assert message.data.tobytes() == path.read_bytes()
        np.testing.assert_array_equal(image_from_compressed(message), cv2.imread(str(path)))
        assert message.header.frame_id == "left"


def test_truth_is_that_of_the_folder(tmp_path, drive):
    make_bag(open_sequence(drive), tmp_path / "bag.mcap", MakeOptions())
    expected = read_ground_truth(drive / "label_2").frames
    for truth in read_bag_truths(tmp_path / "bag.mcap"):
        objects, of_file = truth.truths, expected[Path(truth.frame).stem].truths
        np.testing.assert_allclose(objects.boxes, of_file.boxes, rtol=0, atol=1e-12)
        np.testing.assert_array_equal(objects.categories, of_file.categories)
        np.testing.assert_array_equal(objects.ignored, of_file.ignored)
        np.testing.assert_array_equal(objects.truncation, of_file.truncation)
        np.testing.assert_array_equal(objects.occlusion, of_file.occlusion)
        assert truth.size == (24, 32)
    assert [truth.frame for truth in read_bag_truths(tmp_path / "bag.mcap")] == ["000000.png", "000001.jpg"]
    assert len(messages(tmp_path / "bag.mcap", INFO_TOPIC)) == 3
    assert len(messages(tmp_path / "bag.mcap", TRUTH_TOPIC)) == 2


def test_what_is_to_be_known_of_a_frame_comes_before_its_picture(tmp_path, drive):
    options = MakeOptions(calibration=read_calibration_yaml(CALIBRATION))
    make_bag(open_sequence(drive), tmp_path / "bag.mcap", options)
    with BagReader(tmp_path / "bag.mcap") as reader:
        order = [message.topic for message in reader.messages()]
    assert order[:4] == [INFO_TOPIC, TRUTH_TOPIC, CAMERA_INFO_TOPIC, IMAGE_TOPIC]


def test_camera_info_is_that_of_the_file(tmp_path, drive):
    options = MakeOptions(calibration=read_calibration_yaml(CALIBRATION))
    summary = make_bag(open_sequence(drive), tmp_path / "bag.mcap", options)
    first, *_ = infos = messages(tmp_path / "bag.mcap", CAMERA_INFO_TOPIC)
    info = first.decode()
    assert (len(infos), info.width, info.height, info.distortion_model) == (3, 1242, 375, "plumb_bob")
    assert (info.k[0], info.k[2], info.p[5]) == (721.5377, 609.5593, 721.5377)
    assert summary.notes == ["the calibration is for images of 1242x375 px, and there are some of 32x24"]


def test_rounds_go_on_in_time_under_names_of_their_own(tmp_path, drive):
    (drive / "image" / "000002.jpg").unlink()
    for options, count in ((MakeOptions(frames=7), 7), (MakeOptions(loops=2), 6), (MakeOptions(frames=2), 2)):
        path = tmp_path / f"{count}.mcap"
        seen: list[tuple[int, int | None]] = []
        summary = make_bag(open_sequence(drive), path, options, lambda *progress, seen=seen: seen.append(progress))
        assert seen == [(index + 1, count) for index in range(count)]
        assert summary.frames == count
        times = [message.stamp_ns for message in messages(path, IMAGE_TOPIC)]
        assert times == [DEFAULT_START_NS + index * STEP_NS for index in range(count)]
    truths = read_bag_truths(tmp_path / "7.mcap")
    names = [truth.frame for truth in truths]
    assert names == ["000000.png", "000001.jpg", "000000#2.png", "000001#2.jpg", "000000#3.png"]
    np.testing.assert_array_equal(truths[0].truths.boxes, truths[2].truths.boxes)


def test_times_of_the_data_are_kept_moved_or_replaced(tmp_path, drive):
    sequence = open_sequence(drive)
    times = [50, 50 + STEP_NS, 50 + 4 * STEP_NS, 50 + 5 * STEP_NS]

    def frames():
        for frame, stamp_ns in zip(sequence.frames(), times, strict=True):
            yield replace(frame, stamp_ns=stamp_ns)

    timed = replace(sequence, frames=frames)
    for number, (options, expected) in enumerate(
        (
            (MakeOptions(), [times[0], times[1], times[3]]),
            (MakeOptions(start_ns=10**18), [10**18, 10**18 + STEP_NS, 10**18 + 5 * STEP_NS]),
            (MakeOptions(rate_hz=5, start_ns=0), [0, 2 * STEP_NS, 6 * STEP_NS]),
            (MakeOptions(frames=4), [times[0], times[1], times[3], times[3] + STEP_NS]),
        )
    ):
        path = tmp_path / f"{number}.mcap"
        make_bag(timed, path, options)
        assert [stamp(message) for message in messages(path, IMAGE_TOPIC)] == expected


def test_two_bags_of_the_same_frames_are_the_same(tmp_path, drive):
    bags = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        make_bag(open_sequence(drive), tmp_path / name / "bag.mcap", MakeOptions())
        bags.append((tmp_path / name / "bag.mcap").read_bytes())
    assert bags[0] == bags[1]


@pytest.mark.parametrize("kind", TURNED)
@pytest.mark.parametrize("turned", [1, 3, 6])
def test_a_turned_photo_is_stored_as_it_is_shown(tmp_path, kind, turned):
    photos = tmp_path / "photos"
    photos.mkdir()
    path = photos / ("a.png" if "PNG" in kind else "a.jpg")
    path.write_bytes(TURNED[kind](turned))
    shown = read_image(path)
    assert shown.shape[:2] == image_size(path) == ((80, 48) if turned == 6 else (48, 80))
    summary = make_bag(open_sequence(photos), tmp_path / "bag.mcap", MakeOptions(image="compressed"))
    (message,) = messages(tmp_path / "bag.mcap", f"{IMAGE_TOPIC}/compressed")
    np.testing.assert_array_equal(image_from_compressed(message.decode()), shown)
    assert list(summary.sizes) == [shown.shape[1::-1]]
    # What need not be turned is stored as it is.
    assert (bytes(message.decode().data) == path.read_bytes()) == (turned == 1)


def test_a_video_becomes_jpeg(tmp_path):
    writer = cv2.VideoWriter(str(tmp_path / "drive.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 5.0, (32, 16))
    for index in range(3):
        writer.write(np.full((16, 32, 3), 60 * index, np.uint8))
    writer.release()
    summary = make_bag(open_sequence(tmp_path / "drive.avi"), tmp_path / "bag.mcap", MakeOptions(image="compressed"))
    found = messages(tmp_path / "bag.mcap", f"{IMAGE_TOPIC}/compressed")
    assert [message.decode().format for message in found] == ["jpeg"] * 3
    assert summary.last_ns - summary.first_ns == 400_000_000


def test_images_of_several_sizes_are_noted(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for index, size in enumerate(((8, 16), (16, 8), (8, 16))):
        cv2.imwrite(str(folder / f"{index}.png"), make_image(*size))
    summary = make_bag(open_sequence(folder), tmp_path / "bag.mcap", MakeOptions())
    assert summary.notes == ["images of 2 sizes: 16x8 (2), 8x16 (1)"]


@pytest.mark.parametrize("frames", [None, 5])
def test_a_folder_without_a_readable_image_makes_no_bag(tmp_path, frames):
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"none")
    with pytest.raises(BagError, match=r"none of the images can be read \(a\.png"):
        make_bag(open_sequence(folder), tmp_path / "bag.mcap", MakeOptions(frames=frames))
    assert os.listdir(tmp_path) == ["photos"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (MakeOptions(rate_hz=0), "rate must be above 0"),
        (MakeOptions(rate_hz=float("nan")), "rate must be above 0"),
        (MakeOptions(frames=0), "at least one"),
        (MakeOptions(loops=0), "at least one"),
        (MakeOptions(frames=3, loops=2), "exclude each other"),
        (MakeOptions(start_ns=2**31 * 10**9), "between 1970 and 2038"),
    ],
)
def test_options_that_make_no_bag(tmp_path, drive, options, words):
    with pytest.raises(BagError, match=words):
        make_bag(open_sequence(drive), tmp_path / "bag.mcap", options)


@pytest.mark.skipif(not SHARED_DRIVE.is_dir(), reason="shared driving data not present")
@pytest.mark.parametrize("image", ["raw", "compressed"])
def test_a_real_drive_comes_back_to_the_last_bit(tmp_path, image):
    make_bag(open_sequence(SHARED_DRIVE), tmp_path / "bag.mcap", MakeOptions(image=image, frames=12))
    topic = IMAGE_TOPIC if image == "raw" else f"{IMAGE_TOPIC}/compressed"
    decode = image_from_message if image == "raw" else image_from_compressed
    files = sorted((SHARED_DRIVE / "image").iterdir())
    for message, file in zip(messages(tmp_path / "bag.mcap", topic), files[:12], strict=True):
        np.testing.assert_array_equal(decode(message.decode()), cv2.imread(str(file)))
    expected = read_ground_truth(SHARED_DRIVE / "label_2").frames
    for truth in read_bag_truths(tmp_path / "bag.mcap"):
        np.testing.assert_allclose(
            truth.truths.boxes, expected[Path(truth.frame).stem].truths.boxes, rtol=0, atol=1e-12
        )
