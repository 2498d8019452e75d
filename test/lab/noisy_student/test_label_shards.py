"""Folders, tars and bags as shards: contents, order, and errors."""

from __future__ import annotations

import os
import re
import tarfile
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import pytest
from label_factory import encoded, make_folder, make_tar

from gaussian_yolo_node.files import PlaceError
from gaussian_yolo_node.frames.source import SourceError
from gaussian_yolo_node.lab.noisy_student.shards import (
    WHOLE,
    Shard,
    ShardImage,
    ShardReader,
    extract,
    plan_shards,
)
from gaussian_yolo_node.lab.noisy_student.tar_images import expand


def images(shard: Shard) -> list[ShardImage]:
    with closing(ShardReader()) as reader:
        return list(reader.images(shard))


def all_images(*sources: object, **options: int) -> list[ShardImage]:
    return [image for shard in plan_shards([str(one) for one in sources], **options) for image in images(shard)]


def decoded(data: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)


def test_a_folder_with_its_subfolders_by_path(tmp_path: Path) -> None:
    for name in ("b/2.png", "a.png", "b/c/3.jpg", "b/1.JPEG"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(encoded(1, Path(name).suffix.lower()))
    for name in (".hidden.png", ".folder/a.png", "b/._1.png", "b/notes.txt", "b/png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"no")
    found = all_images(tmp_path, images_per_shard=3)
    assert [(image.name, image.index) for image in found] == [
        ("a.png", 0), ("b/1.JPEG", 1), ("b/2.png", 2), ("b/c/3.jpg", 3)
    ]  # fmt: skip
    np.testing.assert_array_equal(found[0].image_bgr, decoded(encoded(1)))


@pytest.mark.parametrize(("per_shard", "sizes"), [(1, [1] * 5), (2, [2, 2, 1]), (5, [5]), (64, [5])])
def test_folders_are_cut_into_shards(tmp_path: Path, per_shard: int, sizes: list[int]) -> None:
    shards = plan_shards([str(make_folder(tmp_path / "a", 5))], per_shard)
    assert [shard.count for shard in shards] == sizes
    assert [len(images(shard)) for shard in shards] == sizes
    assert len({shard.name for shard in shards}) == len({shard.digest for shard in shards}) == len(sizes)
    assert [Shard.from_json(shard.to_json()) for shard in shards] == shards


def test_sources_come_in_the_order_in_which_they_are_given(tmp_path: Path) -> None:
    b, a = make_folder(tmp_path / "b", 1), make_folder(tmp_path / "a", 1)
    assert [shard.source for shard in plan_shards([str(b), str(a)])] == [str(b), str(a)]


def test_a_changed_shard_is_another_and_a_moved_one_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digests = []
    for place, seeds in (("here", (0, 1)), ("there", (0, 1)), ("changed", (0, 2))):
        (tmp_path / place / "drive").mkdir(parents=True)
        for index, seed in enumerate(seeds):
            (tmp_path / place / "drive" / f"{index}.png").write_bytes(encoded(seed))
        monkeypatch.chdir(tmp_path / place)
        (shard,) = plan_shards(["drive"])
        digests.append(shard.digest)
    assert digests[0] == digests[1] != digests[2]


def test_what_cannot_be_read_comes_with_the_reason(tmp_path: Path) -> None:
    make_folder(tmp_path, 1)
    (tmp_path / "cut.jpg").write_bytes(encoded(1, ".jpg")[:-40])
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("text")
    (tmp_path / "to_nowhere.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / os.fsdecode(b"\xff.png")).write_bytes(encoded(1))
    found = {image.name: image.reason for image in all_images(tmp_path) if image.image_bgr is None}
    assert found == {
        "cut.jpg": "the JPEG is cut short",
        "empty.png": "the file is empty",
        "text.png": "not an image OpenCV can decode",
        "to_nowhere.png": "No such file or directory",
        r"\udcff.png": "the name is not UTF-8: rename the file",
    }


@pytest.mark.parametrize(
    ("pattern", "paths"),
    [
        ("a.tar", ["a.tar"]),
        ("a{0..2}.tar", ["a0.tar", "a1.tar", "a2.tar"]),
        ("a-{008..011}.tar", ["a-008.tar", "a-009.tar", "a-010.tar", "a-011.tar"]),
        ("{b,a}/{0..1}.tar", ["b/0.tar", "b/1.tar", "a/0.tar", "a/1.tar"]),
        ("{2..1}.tar", []),
        ("none*.tar", []),
    ],
)
def test_patterns(pattern: str, paths: list[str]) -> None:
    assert expand(pattern) == paths


def test_globs_give_what_is_there(tmp_path: Path) -> None:
    for name in ("2.tar", "10.tar", "b[1].tar"):
        (tmp_path / name).touch()
    assert expand(f"{tmp_path}/[0-9]*.tar") == [f"{tmp_path}/2.tar", f"{tmp_path}/10.tar"]
    # The path of an existing file is not a pattern.
    assert expand(f"{tmp_path}/b[1].tar") == [f"{tmp_path}/b[1].tar"]


MEMBERS = [
    ("0001.jpg", encoded(1, ".jpg")),
    ("0001.json", b"{}"),
    ("drive/0002.PNG", encoded(2)),
    ("drive/._0002.png", b"macOS"),
    ("0003.jpeg", encoded(3, ".jpg")),
]
NAMES = ["0001.jpg", "drive/0002.PNG", "0003.jpeg"]


@pytest.mark.parametrize(("name", "mode"), [("a.tar", "w"), ("a.tar.gz", "w:gz"), ("a.tgz", "w:gz")])
def test_images_of_a_tar(tmp_path: Path, name: str, mode: str) -> None:
    path = make_tar(tmp_path / name, MEMBERS, mode)
    (shard,) = plan_shards([str(path)], 1)
    found = images(shard)
    assert [(image.name, image.index) for image in found] == [(name, index) for index, name in enumerate(NAMES)]
    np.testing.assert_array_equal(found[1].image_bgr, decoded(encoded(2)))


def test_members_of_several_tars_do_not_collide(tmp_path: Path) -> None:
    for name in ("000.tar", "001.tar"):
        make_tar(tmp_path / name, MEMBERS[:1])
    for pattern in ("{000..001}.tar", "*.tar"):
        shards = plan_shards([f"{tmp_path}/{pattern}"])
        assert [shard.name for shard in shards] == [f"{tmp_path}/000.tar", f"{tmp_path}/001.tar"]
        names = [image.name for shard in shards for image in images(shard)]
        assert names == ["000.tar/0001.jpg", "001.tar/0001.jpg"]


def test_a_name_twice_in_a_tar(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "a.tar", [MEMBERS[0], MEMBERS[4], ("0001.jpg", encoded(7, ".jpg"))])
    found = all_images(path)
    assert [image.image_bgr is None for image in found] == [False, False, True]
    assert found[2].reason == "the name is in the tar twice: the first one is taken"


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("left", [0.3, 0.5, 0.8])
def test_a_tar_that_is_cut_short(tmp_path: Path, left: float, packed: bool) -> None:
    members = [(f"{index}.png", encoded(index)) for index in range(24)]
    path = make_tar(tmp_path / ("a.tar.gz" if packed else "a.tar"), members, "w:gz" if packed else "w")
    os.truncate(path, int(path.stat().st_size * left))
    *found, last = all_images(path)
    assert 0 < len(found) <= 24 and all(image.image_bgr is not None for image in found)
    assert [image.name for image in found] == [name for name, _ in members[: len(found)]]
    assert (last.name, last.index) == (path.name, WHOLE)
    assert re.fullmatch(rf"it is cut short or damaged \(.*\); {len(found)} images can be read.*", last.reason)


@pytest.mark.parametrize("block", ["header", "end"])
def test_a_damaged_header_is_not_taken_for_the_end(tmp_path: Path, block: str) -> None:
    members = [(f"{index}.png", bytes(512)) for index in range(3)]
    path = make_tar(tmp_path / "a.tar", members)
    with path.open("r+b") as file:
        if block == "header":
            file.seek(1024)
            file.write(b"\xff" * 512)
        else:
            file.truncate(3 * 1024)
    *found, last = all_images(path)
    assert len(found) == (1 if block == "header" else 3)
    assert last.index == WHOLE and "there is no mark of its end" in last.reason


@pytest.mark.parametrize("kind", ["large", "sparse"])
def test_a_member_that_claims_gigabytes(tmp_path: Path, kind: str) -> None:
    path = make_tar(tmp_path / "a.tar", [("0.png", encoded(0)), ("1.png", encoded(1))])
    with path.open("r+b") as file:
        with tarfile.open(path) as tar:
            at = tar.getmembers()[1].offset
        file.seek(at)
        header = bytearray(file.read(512))
        if kind == "large":
            header[124:136] = (8 << 30).to_bytes(12, "big")
            header[124] = 0x80
        else:
            header[156:157] = b"S"
            header[386:410] = b"00000000000\0" + b"00000000000\0"
            header[483:495] = b"77777777777\0"
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        file.seek(at)
        file.write(header)
    found = all_images(path)
    assert [image.name for image in found if image.image_bgr is not None] == ["0.png"]
    if kind == "large":
        assert "1.png has 8589934592 bytes, and at most 268435456 are read" in found[-1].reason


def bags(tmp_path: Path) -> tuple[Path, list[np.ndarray]]:
    factory = pytest.importorskip("bag_factory", reason="rosbags is not installed (extra 'bags')")
    return factory.write_recording(tmp_path / "bag", factory.camera_records(5)), factory.pictures(5)


@pytest.mark.parametrize("per_shard", [1, 2, 5, 64])
def test_ranges_of_a_bag(tmp_path: Path, per_shard: int) -> None:
    bag, pictures = bags(tmp_path)
    shards = plan_shards([str(bag)], per_shard)
    assert len(shards) == -(-5 // per_shard)
    found = [image for shard in shards for image in images(shard)]
    assert [image.index for image in found] == list(range(5))
    assert found[1].name == "camera/image_raw/000001_1700000000100000000"
    for image, picture in zip(found, pictures, strict=True):
        np.testing.assert_array_equal(image.image_bgr, picture)


def test_a_reader_reads_ranges_in_any_order(tmp_path: Path) -> None:
    bag, _ = bags(tmp_path)
    shards = plan_shards([str(bag)], 1)
    reader = ShardReader()
    try:
        for number in (0, 3, 1, 4, 4):
            assert [image.index for image in reader.images(shards[number])] == [number]
    finally:
        reader.close()


def test_what_ails_a_bag_is_told_once(tmp_path: Path) -> None:
    bag, _ = bags(tmp_path)
    os.truncate(bag / "bag.mcap", (bag / "bag.mcap").stat().st_size // 3)
    found = all_images(bag, images_per_shard=1)
    notes = [image for image in found if image.index == WHOLE]
    assert 0 < len(found) - len(notes) < 5
    assert notes and all(image.image_bgr is None for image in notes)
    assert len([image for image in notes if "is cut short" in image.reason]) == 1


def test_messages_that_cannot_be_decoded(tmp_path: Path) -> None:
    factory = pytest.importorskip("bag_factory", reason="rosbags is not installed (extra 'bags')")
    bad = bytearray(factory.camera_records(1)[0][2])
    bad[bad.index(b"bgr8")] = ord("x")
    records = [
        (factory.IMAGE_TOPIC, factory.START_NS, bytes(bad)),
        (factory.IMAGE_TOPIC, factory.START_NS + 1, b"\0\1\0\0"),
        *((topic, stamp + 2, raw) for topic, stamp, raw in factory.camera_records(1)),
    ]
    found = all_images(factory.write_recording(tmp_path / "bag", records))
    assert [image.image_bgr is None for image in found] == [True, True, False]
    assert "encoding 'xgr8' is not supported" in found[0].reason
    assert found[1].name == "camera/image_raw/000001"


def test_a_topic_is_chosen(tmp_path: Path) -> None:
    factory = pytest.importorskip("bag_factory", reason="rosbags is not installed (extra 'bags')")
    other = f"{factory.IMAGE_TOPIC}/compressed"
    picture = factory.pictures(9)[8]
    records = [*factory.camera_records(2), (other, factory.START_NS, factory.compressed(picture, 5))]
    bag = str(factory.write_recording(tmp_path / "bag", records))
    with pytest.raises(SourceError, match=r"2 topics of images: choose one of .* with --topic"):
        plan_shards([bag])
    with pytest.raises(SourceError, match="no images on /rear: images are on"):
        plan_shards([bag], topic="/rear")
    (shard,) = plan_shards([bag], topic=other)
    (image,) = images(shard)
    np.testing.assert_array_equal(image.image_bgr, picture)
    # Extraction takes the topic from the name.
    paths = extract([(bag, image.name)], tmp_path / "out")
    np.testing.assert_array_equal(cv2.imread(str(paths[bag, image.name])), picture)


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ([], "there is nothing to label: name folders"),
        (["{tmp}/none"], "there is no source {tmp}/none: give a folder of images"),
        (["{tmp}/none.tar"], "there is no tar {tmp}/none.tar: give .tar files"),
        (["{tmp}/none*.tar"], "there is no tar {tmp}/none*.tar"),
        (["{tmp}/im{{ages,none}}.tar"], "there is no tar {tmp}/imnone.tar, which {tmp}/im{{ages,none}}.tar names"),
        (["{tmp}/empty"], "folder {tmp}/empty has no images: looked for .jpg"),
        (["{tmp}/shards"], "has no images: looked for .*; shards are given as '{tmp}/shards/*.tar'"),
        (["{tmp}/text.tar"], "{tmp}/text.tar has no images in it: looked for members .jpg, .jpeg, .png"),
        (["{tmp}/no.tar"], "{tmp}/no.tar has no images in it"),
        (["{tmp}/images/00.png"], "00.png is not a source of images: give a folder"),
        (["{tmp}/empty.mcap"], "empty.mcap is empty"),
        (["{tmp}/images", "{tmp}/images"], "{tmp}/images is given twice: name it once"),
    ],
)
def test_sources_that_cannot_be(tmp_path: Path, sources: list[str], message: str) -> None:
    make_folder(tmp_path / "images", 1)
    (tmp_path / "empty").mkdir()
    make_tar(tmp_path / "images.tar", MEMBERS)
    make_tar(tmp_path / "shards" / "0.tar", MEMBERS)
    make_tar(tmp_path / "text.tar", [("a.txt", b"text")])
    (tmp_path / "no.tar").write_text("not a tar")
    (tmp_path / "empty.mcap").touch()
    if any(source.endswith(".mcap") for source in sources):
        pytest.importorskip("rosbags", reason="rosbags is not installed (extra 'bags')")
    expected = ".*".join(re.escape(part) for part in message.format(tmp=tmp_path).split(".*"))
    with pytest.raises(SourceError, match=expected):
        plan_shards([source.format(tmp=tmp_path) for source in sources])


def test_shards_without_images_are_no_shards(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="images_per_shard must be at least 1, not 0"):
        plan_shards([str(make_folder(tmp_path, 1))], 0)


def test_extracting_leaves_images_of_folders_where_they_are(tmp_path: Path) -> None:
    source = str(make_folder(tmp_path / "a", 2))
    assert extract([(source, "01.png")], tmp_path / "out") == {(source, "01.png"): tmp_path / "a" / "01.png"}
    assert not (tmp_path / "out").exists()


def test_extracting_from_tars_keeps_the_bytes_and_does_nothing_twice(tmp_path: Path) -> None:
    for name in ("0.tar", "1.tar"):
        make_tar(tmp_path / name, MEMBERS)
    source = f"{tmp_path}/{{0..1}}.tar"
    wanted = {"0.tar/0001.jpg", "1.tar/drive/0002.PNG"}
    paths = extract([(source, name) for name in wanted], tmp_path / "out")
    assert {name for _, name in paths} == wanted
    assert paths[source, "0.tar/0001.jpg"].read_bytes() == MEMBERS[0][1]
    assert paths[source, "1.tar/drive/0002.PNG"].read_bytes() == MEMBERS[2][1]
    times = {path: path.stat().st_mtime_ns for path in paths.values()}
    assert extract([(source, name) for name in wanted], tmp_path / "out") == paths
    assert {path: path.stat().st_mtime_ns for path in paths.values()} == times
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert sorted(files) == sorted(paths.values())


def test_sources_of_the_same_name_do_not_collide(tmp_path: Path) -> None:
    sources = [str(make_tar(tmp_path / place / "a.tar", [("0.png", encoded(seed))]))
               for seed, place in enumerate("xy")]  # fmt: skip
    paths = extract([(source, "0.png") for source in sources], tmp_path / "out")
    assert [paths[source, "0.png"].read_bytes() for source in sources] == [encoded(0), encoded(1)]


@pytest.mark.parametrize("name", ["../../out.png", "/tmp/absolute.png", "a/../../b.png"])
def test_no_member_leaves_the_folder(tmp_path: Path, name: str) -> None:
    source = str(make_tar(tmp_path / "a.tar", [(name, encoded(1)), ("good.png", encoded(2))]))
    bad, good = all_images(source)
    assert bad.image_bgr is None and bad.reason == f"the name {name!r} is refused: it leads out of its folder"
    assert good.image_bgr is not None
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(PlaceError, match="leads out of its folder"):
        extract([(source, name)], tmp_path / "out")
    assert sorted(tmp_path.rglob("*")) == before and not Path("/tmp/absolute.png").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_of_a_tar_are_no_images(tmp_path: Path, kind: bytes) -> None:
    source = make_tar(tmp_path / "a.tar", [("good.png", encoded(1))])
    member = tarfile.TarInfo("link.png")
    member.type, member.linkname = kind, "/etc/passwd"
    with tarfile.open(source, "a") as tar:
        tar.addfile(member)
    assert [image.name for image in all_images(str(source))] == ["good.png"]


@pytest.mark.parametrize("kind", ["folder", "bag"])
def test_no_name_of_a_label_leaves_the_folder(tmp_path: Path, kind: str) -> None:
    (tmp_path / "secret.png").write_bytes(encoded(1))
    source = str(make_folder(tmp_path / "a", 1) if kind == "folder" else bags(tmp_path)[0])
    with pytest.raises(PlaceError, match="leads out of its folder"):
        extract([(source, "../secret.png")], tmp_path / "out")


def test_a_link_in_the_place_of_extracted_images_is_not_followed(tmp_path: Path) -> None:
    source = str(make_tar(tmp_path / "a.tar", [("drive/0.png", encoded(1))]))
    (place,) = {path.parent.parent for path in extract([(source, "drive/0.png")], tmp_path / "out").values()}
    (place / "drive" / "0.png").unlink()
    (place / "drive").rmdir()
    (tmp_path / "elsewhere").mkdir()
    (place / "drive").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PlaceError, match="a link leads out of"):
        extract([(source, "drive/0.png")], tmp_path / "out")
    assert not list((tmp_path / "elsewhere").iterdir())


def test_extracting_from_a_bag(tmp_path: Path) -> None:
    bag, pictures = bags(tmp_path)
    names = [image.name for image in all_images(bag)]
    paths = extract([(str(bag), names[1]), (str(bag), names[4])], tmp_path / "out")
    for index in (1, 4):
        path = paths[str(bag), names[index]]
        np.testing.assert_array_equal(cv2.imread(str(path)), pictures[index])
    times = [path.stat().st_mtime_ns for path in paths.values()]
    assert [path.stat().st_mtime_ns for path in extract([(str(bag), names[1])], tmp_path / "out").values()]
    assert [path.stat().st_mtime_ns for path in paths.values()] == times


@pytest.mark.parametrize("kind", ["folder", "tar", "bag"])
def test_extracting_what_is_gone(tmp_path: Path, kind: str) -> None:
    sources = {"folder": lambda: make_folder(tmp_path / "a", 1), "tar": lambda: make_tar(tmp_path / "a.tar", MEMBERS),
               "bag": lambda: bags(tmp_path)[0]}  # fmt: skip
    source = str(sources[kind]())
    with pytest.raises(SourceError, match=f"{source} has no readable image gone.png any more .1 are missing"):
        extract([(source, "gone.png")], tmp_path / "out")
