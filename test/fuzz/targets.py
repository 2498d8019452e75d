"""The readers under test, each with small honest files as seeds. Imports are inside: a reader needs only its own."""

from __future__ import annotations

import io
import json
import random
import struct
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Target:
    """A reader.

    Attributes:
        seeds: makes its honest files.
        read: reads a file; may raise only errors of this package.
        suffix: of the file.
        make: makes another file of the seeds and a name that decides which, if bytes alone would not get far.
    """

    seeds: Callable[[], Sequence[bytes]]
    read: Callable[[Path], object]
    suffix: str = ""
    make: Callable[[Sequence[bytes], str], bytes] | None = None


def picture_seeds() -> list[bytes]:
    import cv2

    picture = np.random.default_rng(0).integers(0, 256, (64, 72, 3), np.uint8)
    suffixes = (".jpg", ".png", ".webp", ".bmp", ".tiff", ".gif", ".ppm", ".pam", ".hdr", ".ras", ".jp2")
    seeds = []
    for suffix in suffixes:
        if cv2.haveImageWriter(f"a{suffix}"):
            done, data = cv2.imencode(suffix, picture.astype(np.float32) if suffix == ".hdr" else picture)
            seeds += [data.tobytes()] if done else []
    return [*seeds, cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()]


def read_picture(path: Path) -> None:
    from gaussian_yolo_node.frames.decoding import decode

    decode(path.read_bytes())


def raw_image_seeds() -> list[bytes]:
    from gaussian_yolo_node.frames.image_messages import ENCODINGS

    head = struct.pack("<IIIB", 4, 6, 24, 0)
    return [head + name.encode().ljust(20) + bytes(range(144)) for name in ENCODINGS]


def read_raw_image(path: Path) -> None:
    from types import SimpleNamespace

    from gaussian_yolo_node.frames.image_messages import image_from_message

    data = path.read_bytes().ljust(40, b"\0")
    height, width, step, big = struct.unpack_from("<IIIB", data)
    encoding = data[13:33].decode("latin-1").strip()
    image_from_message(
        SimpleNamespace(height=height, width=width, step=step, is_bigendian=big, encoding=encoding, data=data[33:])
    )


def bag_seeds(storage: str) -> list[bytes]:
    from bag_factory import camera_records, detections, info, text_records, write_recording
    from hostile_files import mcap

    records = sorted(
        [
            *camera_records(2),
            *text_records(2),
            ("/ground_truth", 1_700_000_000_000_000_000, detections([("car", 0.5, (1, 1, 4, 4))], 1)),
            ("/ground_truth/info", 1_700_000_000_000_000_000, info(1_700_000_000_000_000_000, "a.png", 1)),
        ],
        key=lambda record: record[1],
    )
    seeds = []
    for compression in ("none", "storage") if storage == "mcap" else ("none", "message"):
        with tempfile.TemporaryDirectory() as folder:
            bag = write_recording(Path(folder) / "bag", records, storage=storage, compression=compression)  # type: ignore[arg-type]
            seeds += [path.read_bytes() for path in bag.iterdir() if path.suffix in (".mcap", ".db3")]
    return seeds if storage != "mcap" else [*seeds, mcap("int32 x\nstring[2] y\n")]


def ros1_seeds() -> list[bytes]:
    from bag_factory import ros1_messages, write_ros1

    seeds = []
    for compression in ("none", "bz2", "lz4"):
        with tempfile.TemporaryDirectory() as folder:
            seeds.append(write_ros1(Path(folder) / "a.bag", ros1_messages(), compression).read_bytes())
    return seeds


def read_bag(path: Path) -> None:
    """As the commands do: what is in it, its frames, and the labels in it."""
    from gaussian_yolo_node.bags.info import read_info
    from gaussian_yolo_node.errors import GaussianYoloError
    from gaussian_yolo_node.frames.bag import BagImages
    from gaussian_yolo_node.labels.bag_records import read_bag_predictions, read_bag_truths

    for read in (read_info, lambda bag: list(BagImages(bag).play()), read_bag_truths, read_bag_predictions):
        try:
            read(path)
        except GaussianYoloError:
            continue


DEFINITION = """# of a message
std_msgs/Header header
int32 X=3
float64[9] k
string<=10[] names
a/C[2] parts
uint8 y 5
================================================================================
MSG: a/C
geometry_msgs/Point[] points
"""
IDL = """module a { module msg {
  const long X = 3;
  @verbatim (language="comment", text="a ( text")
  struct B { std_msgs::msg::Header header; @default (value=5) long y; sequence<double, 4> z; string<5> s; long w[3]; };
}; };
"""


def read_definition(layout: str) -> Callable[[Path], None]:
    def read(path: Path) -> None:
        from gaussian_yolo_node.bags.storage import Channel
        from gaussian_yolo_node.bags.typestore import MessageTypes

        text = path.read_bytes().decode("utf-8", "replace")
        encoding = "ros1" if layout == "ros1msg" else "cdr"
        types = MessageTypes([Channel(1, "/a", "a/msg/B", 1, encoding, text, layout)])
        if types.knows("a/msg/B"):
            types.has_header("a/msg/B")
            types.decode(b"\0\1\0\0" + bytes(200), "a/msg/B")

    return read


def documents(*values: object) -> Callable[[], list[bytes]]:
    return lambda: [json.dumps(value).encode() for value in values]


PREDICTIONS = [
    {"frame": "a.jpg", "detections": [{"class": "car", "score": 0.5, "box": [1, 2, 3, 4], "sigma": [1, 1, 1, 1]}]}
]
BY_BOX = [{"name": "a.jpg", "category": "car", "bbox": [1, 2, 3, 4], "score": 0.5}]
COCO = {
    "images": [{"id": 1, "file_name": "a.jpg", "width": 20, "height": 10}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "iscrowd": 0, "area": 12}],
    "categories": [{"id": 1, "name": "car"}],
}
BDD = [{"name": "a.jpg", "labels": [{"category": "car", "box2d": {"x1": 1, "y1": 2, "x2": 3, "y2": 4},
        "attributes": {"occluded": True}}]}]  # fmt: skip


def read_predictions(path: Path) -> None:
    from gaussian_yolo_node.labels.predictions import read_predictions

    read_predictions(path)


def read_truths(path: Path) -> None:
    from gaussian_yolo_node.labels.truths import read_ground_truth

    read_ground_truth(path)


def check_labels(layout: str, **options: Any) -> Callable[[Path], None]:
    """`data check` of one label file beside one image."""

    def read(path: Path) -> None:
        import cv2

        from gaussian_yolo_node.labels.check import check_sources
        from gaussian_yolo_node.labels.sources import open_source

        folder = path.parent / layout
        if not folder.exists():
            (folder / "images").mkdir(parents=True)
            (folder / "labels").mkdir()
            cv2.imwrite(str(folder / "images" / "a.jpg"), np.zeros((10, 20, 3), np.uint8))
        labels = folder / "labels" / "a.txt" if path.suffix == ".txt" else folder / "labels.json"
        labels.write_bytes(path.read_bytes())
        where = {"labels": "labels" if path.suffix == ".txt" else "labels.json", "images": "images"}
        source = open_source(folder, {"format": layout, **where, **options}, "fuzz")
        check_sources({"train": [source]}, ("car", "person"))

    return read


def read_run_file(path: Path) -> None:
    from gaussian_yolo_node.replay.run_folder import read_run

    read_run(path)


def run_seeds() -> list[bytes]:
    from replay.test_run_folder import RUN

    from gaussian_yolo_node.replay.run_folder import RUN_FILE, write_run

    with tempfile.TemporaryDirectory() as folder:
        write_run(Path(folder), RUN)
        return [(Path(folder) / RUN_FILE).read_bytes()]


def card_seeds() -> list[bytes]:
    from factories import make_card

    return [make_card().to_json().encode()]


def read_card(path: Path) -> None:
    from gaussian_yolo_node.detector.model import ModelCard

    ModelCard.from_json(path.read_bytes().decode("utf-8", "replace"), path)


def recipe_seeds() -> list[bytes]:
    return [path.read_bytes() for path in sorted((Path(__file__).parents[2] / "engines").glob("*.yaml"))]


def read_recipe(path: Path) -> None:
    from gaussian_yolo_node.lab.training.config import TrainConfig

    TrainConfig.load(path)


CALIBRATION = b"""image_width: 20
image_height: 10
distortion_model: plumb_bob
camera_matrix: {rows: 3, cols: 3, data: [1.0, 0.0, 2.0, 0.0, 1.0, 2.0, 0.0, 0.0, 1.0]}
distortion_coefficients: {rows: 1, cols: 5, data: [0, 0, 0, 0, 0]}
rectification_matrix: {rows: 3, cols: 3, data: [1, 0, 0, 0, 1, 0, 0, 0, 1]}
projection_matrix: {rows: 3, cols: 4, data: [1, 0, 2, 0, 0, 1, 2, 0, 0, 0, 1, 0]}
"""


def read_calibration(path: Path) -> None:
    from gaussian_yolo_node.frames.camera_calibration import read_calibration_yaml

    read_calibration_yaml(path)


def cfg_seeds() -> list[bytes]:
    from darknet_factory import small_cfg

    return [small_cfg().encode(), small_cfg("yolo").encode()]


def read_cfg(path: Path) -> None:
    from gaussian_yolo_node.lab.networks.darknet_cfg import read_cfg

    read_cfg(path)


def weights_seeds() -> list[bytes]:
    from darknet_factory import random_weights, small_cfg

    from gaussian_yolo_node.lab.networks.darknet_cfg import parse_cfg
    from gaussian_yolo_node.lab.networks.darknet_files import write_weights

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.weights"
        write_weights(path, random_weights(parse_cfg(small_cfg(), "a.cfg")))
        return [path.read_bytes()]


def make_weights(seeds: Sequence[bytes], name: str) -> bytes:
    """The right number of values, some of them odd, behind an odd header; or a file that is too long or too short."""
    rng = random.Random(name)
    data = bytearray(seeds[0])
    version = [rng.choice((0, 1, 2, 5, 1000, -1, 1 << 30)) for _ in range(3)] if rng.random() < 0.5 else [0, 2, 5]
    struct.pack_into("<3i", data, 0, *version)
    for _ in range(rng.randrange(4)):
        at = rng.randrange(20, len(data) - 4) & ~3
        struct.pack_into("<f", data, at, rng.choice((0.0, -1.0, float("nan"), float("inf"), 1e38, 1e-45)))
    if rng.random() < 0.3:
        del data[-rng.randrange(1, len(data)) :]
    elif rng.random() < 0.3:
        data += bytes(rng.choice((1, 4, 100)))
    return bytes(data)


def read_weights(path: Path) -> None:
    from darknet_factory import small_cfg

    from gaussian_yolo_node.lab.networks.darknet_cfg import parse_cfg
    from gaussian_yolo_node.lab.networks.darknet_files import read_partial_weights, read_weights

    cfg = parse_cfg(small_cfg(), "a.cfg")
    read_partial_weights(path, cfg)
    read_weights(path, cfg)


def checkpoint_seeds() -> list[bytes]:
    import torch

    document = {
        "config": {"name": "a"},
        "epoch": 1,
        "step": 3,
        "ema": {"a.weight": torch.zeros(2, 3)},
        "validation": {},
    }
    file = io.BytesIO()
    torch.save(document, file)
    return [file.getvalue()]


def make_checkpoint(seeds: Sequence[bytes], name: str) -> bytes:
    """A whole checkpoint with another value in one of its places, or a damaged one."""
    import torch
    from fuzz.mutate import mutated

    rng = random.Random(name)
    if rng.random() < 0.3:
        return mutated(seeds, name)
    document = torch.load(io.BytesIO(seeds[0]), weights_only=True)
    odd = (None, -1, 0, 1e400, "x", [], {}, [1, 2], {"a": {"b": []}}, torch.zeros(0), torch.tensor(float("nan")), True)
    recipe: dict[str, Any] = {"model": rng.choice(odd), "schedule": rng.choice(odd), "name": rng.choice(odd)}
    for _ in range(rng.randint(1, 3)):
        key = rng.choice([*document, "classifier", "extra"])
        document[key] = rng.choice((*odd, recipe))
        if rng.random() < 0.2:
            document.pop(rng.choice(list(document)), None)
    file = io.BytesIO()
    torch.save(document, file)
    return file.getvalue()


def read_checkpoint(path: Path) -> None:
    from gaussian_yolo_node.errors import GaussianYoloError
    from gaussian_yolo_node.lab.classification.checkpoint import load_classifier
    from gaussian_yolo_node.lab.training.checkpoint import load_trained

    for read in (load_trained, load_classifier):
        try:
            read(path)
        except GaussianYoloError:
            continue


def parquet_seeds() -> list[bytes]:
    from gaussian_yolo_node.lab.noisy_student.tables import write_rows

    common = {"image": "a.jpg", "source": "s", "shard": "s[0:1]", "index": 0, "height": 10, "width": 20}
    box = {"boxes": [[1.0, 2.0, 3.0, 4.0]], "scores": [0.5], "classes": ["car"], "sigmas": [[1.0] * 4]}
    seeds = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.parquet"
        for kind, values in (("detection", box), ("classification", {"probabilities": [0.5, 0.5]})):
            write_rows(path, kind, [{**common, **values}] * 2, {"skipped": []})  # type: ignore[arg-type]
            seeds.append(path.read_bytes())
    return seeds


def read_parquet(path: Path) -> None:
    from gaussian_yolo_node.errors import GaussianYoloError
    from gaussian_yolo_node.lab.noisy_student.tables import _read_rows, read_about

    read_about(path)
    for kind in ("detection", "classification"):
        try:
            list(_read_rows(path, kind))  # type: ignore[arg-type]
        except GaussianYoloError:
            continue


def tar_seeds() -> list[bytes]:
    seeds = []
    for mode, layout in (("w", tarfile.USTAR_FORMAT), ("w", tarfile.PAX_FORMAT), ("w:gz", tarfile.GNU_FORMAT)):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode=mode, format=layout) as tar:  # type: ignore[call-overload]
            for name in ("a.png", "b" * (90 if layout == tarfile.USTAR_FORMAT else 200) + ".jpg", "c.txt"):
                member = tarfile.TarInfo(name)
                data = picture_seeds()[1]
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
        seeds.append(file.getvalue())
    return seeds


def read_tar(path: Path) -> None:
    from gaussian_yolo_node.lab.noisy_student import tar_images

    tar_images.has_image(path)
    for _ in tar_images.pictures(path):
        pass


KITTI = b"""Car 0.00 0 -1.57 1.0 2.0 8.0 9.0 1.5 1.6 3.9 1.0 1.5 20.0 -1.5
DontCare -1 -1 -10 1 1 5 5 -1 -1 -1 -1000 -1000 -1000 -10
"""

TARGETS: dict[str, Target] = {
    "picture": Target(picture_seeds, read_picture),
    "raw_image": Target(raw_image_seeds, read_raw_image),
    "mcap": Target(lambda: bag_seeds("mcap"), read_bag, ".mcap"),
    "sqlite": Target(lambda: bag_seeds("sqlite3"), read_bag, ".db3"),
    "ros1": Target(ros1_seeds, read_bag, ".bag"),
    "definition": Target(lambda: [DEFINITION.encode()], read_definition("ros2msg")),
    "definition_ros1": Target(lambda: [DEFINITION.encode()], read_definition("ros1msg")),
    "definition_idl": Target(lambda: [IDL.encode()], read_definition("ros2idl")),
    "predictions": Target(documents(PREDICTIONS, BY_BOX), read_predictions, ".json"),
    "truths": Target(documents(COCO, BDD), read_truths, ".json"),
    "coco": Target(documents(COCO), check_labels("coco"), ".json"),
    "bdd": Target(documents(BDD), check_labels("bdd"), ".json"),
    "kitti": Target(lambda: [KITTI], check_labels("kitti"), ".txt"),
    "yolo": Target(
        lambda: [b"0 0.5 0.5 0.2 0.2\n1 0.1 0.1 0.1 0.1\n"], check_labels("yolo", names=["car", "person"]), ".txt"
    ),
    "run_file": Target(run_seeds, read_run_file, ".json"),
    "card": Target(card_seeds, read_card, ".json"),
    "recipe": Target(recipe_seeds, read_recipe, ".yaml"),
    "calibration": Target(lambda: [CALIBRATION], read_calibration, ".yaml"),
    "darknet_cfg": Target(cfg_seeds, read_cfg, ".cfg"),
    "darknet_weights": Target(weights_seeds, read_weights, ".weights", make_weights),
    "checkpoint": Target(checkpoint_seeds, read_checkpoint, ".pt", make_checkpoint),
    "parquet": Target(parquet_seeds, read_parquet, ".parquet"),
    "tar": Target(tar_seeds, read_tar, ".tar"),
}
