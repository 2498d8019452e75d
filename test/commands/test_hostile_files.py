"""Small files that would cost minutes or gigabytes: one line that names the file, exit code 2, and little memory."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rosbags", reason="the extra `bags` is not installed")

import zstandard
from bag_factory import START_NS, text, text_records, write_recording
from frames.test_picture_header import png, tiff
from hostile_files import (
    LZ4_CLAIM,
    MESSAGES,
    RULE,
    TOPICS,
    bz2_zeros,
    mcap,
    mcap_chunk,
    ros1_chunk,
    sqlite,
    zstd_zeros,
)

MORE_MB = 500  # of address space, beside what the modules take
INFO, DETECT = ["bag", "info"], ["detect"]
ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT"
EVALUATE = ["evaluate", "--ground-truth", "truth.json", "--predictions"]
PAIRS = "".join(f"{RULE}a/C{n}\na/C{n + 1} x\na/C{n + 1} y\n" for n in range(30))
DOUBLING = f"a/C0 x\n{PAIRS}{RULE}a/C30\nint8 x\n"
IMAGE = f"""std_msgs/Header header
uint32 {{}}
uint32 width
string encoding
uint8 is_bigendian
uint32 step
uint8[] data
{RULE}std_msgs/Header
builtin_interfaces/Time stamp
string frame_id
{RULE}builtin_interfaces/Time
int32 sec
uint32 nanosec
"""
LAUGHS = ["a0: &a0 [0]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12))]


@dataclass(frozen=True)
class Case:
    """A file, the command that reads it, and words of the error."""

    name: str
    content: bytes
    command: list[str]
    words: str


def idl(body: str) -> bytes:
    return mcap(f"module a {{ module msg {{ {body} }}; }};", "ros2idl")


def cases() -> dict[str, Case]:
    nested = "[" * 100_000
    sequences = "sequence<" * 99 + "long" + ">" * 99
    zstd, bz2 = zstd_zeros(600), bz2_zeros(600)
    rows = f"{ENDLESS} x AS id, 1 AS topic_id, x AS timestamp, x'00' AS data FROM c"
    json_files = {"bigint": "1" * 5000, "nested": nested, "mappings": '{"a":' * 100_000}
    yaml_files = {
        "nested": "[" * 3000,
        "sequences": "- " * 3000,
        "badint": "data: 0b_",
        "hexadecimal": "data: 0x" + "f" * 5000,
        "baddate": "data: 2020-13-45",
        "laughs": "\n".join(LAUGHS),
    }
    made = {
        "79 bytes": Case("a.png", png(4, 4)[:37] + b"\xff\xff\0\x16IDAT" + bytes(30), DETECT, "the PNG is cut short"),
        "pixels": Case("a.png", png(30_000, 30_000), DETECT, "900 megapixels, and at most 64 are read"),
        "tile": Case(
            "a.tif", tiff({256: (3, 16), 257: (3, 16), 322: (4, 30_000), 323: (4, 30_000)}), DETECT, "900 megapixels"
        ),
        "array of strings": Case("a.mcap", mcap("string[300000000] y\n"), INFO, "its field y is an array of 300000000"),
        "arrays of arrays": Case(
            "a.mcap", mcap(f"a/C[900] y\n{RULE}a/C\na/D[900] y\n{RULE}a/D\nint8 x\n"), INFO, "may have 1000 items"
        ),
        "doubling types": Case("a.mcap", mcap(DOUBLING), INFO, "more than 20000 values"),
        "fields": Case("a.mcap", mcap("".join(f"int8 a{n}\n" for n in range(3000))), INFO, "it has 3000 fields"),
        "itself": Case("a.mcap", mcap("a/B x\n"), INFO, "it contains itself"),
        "each other": Case("a.mcap", mcap(f"a/C x\n{RULE}a/C\na/B x\n"), INFO, "it contains itself"),
        "list of itself": Case("a.mcap", mcap("a/B[] x\n"), INFO, "it contains itself"),
        "infinite": Case("a.mcap", mcap("float32 Y=1e999\nint8 x\n"), INFO, "its constant Y is no value"),
        "large constant": Case("a.mcap", mcap(f"int64 Y={'9' * 100}\nint8 x\n"), INFO, "not a number of 64 bits"),
        "long": Case("a.mcap", mcap("#" * 300_000), INFO, "300000 characters"),
        "nested IDL": Case("a.mcap", mcap("module a {" * 1000, "ros2idl"), INFO, "its brackets nest"),
        "IDL sequences": Case("a.mcap", idl(f"struct B {{ {sequences} x; }};"), INFO, "nest"),
        "IDL parentheses": Case("a.mcap", idl("const long X = ((((((1)))))); struct B { long x; };"), INFO, "computes"),
        "IDL shift": Case("a.mcap", idl("const long X = 1 << 9999999999; struct B { long x; };"), INFO, "computes"),
        "image without height": Case(
            "a.mcap", mcap(IMAGE.format("tallness"), kind="sensor_msgs/msg/Image"), DETECT, "is not ROS's"
        ),
        "image with a text as height": Case(
            "a.mcap", mcap(IMAGE.format("h\nstring height"), kind="sensor_msgs/msg/Image"), DETECT, "is not ROS's"
        ),
        "image of a damaged definition": Case(
            "a.mcap", mcap("uint32 height\nuint\x01\n", kind="sensor_msgs/msg/Image"), DETECT, "is not ROS's"
        ),
        "zstd chunk": Case("a.mcap", mcap_chunk("zstd", 600 << 20, zstd), INFO, "629145600 bytes when unpacked"),
        "zstd chunk that lies": Case("a.mcap", mcap_chunk("zstd", 1000, zstd), INFO, "records that are none"),
        "zstd chunk of tiny records": Case(
            "a.mcap", mcap_chunk("zstd", 9 << 20, zstd_records(9 << 20)), INFO, "records that are none"
        ),
        "lz4 chunk": Case("a.mcap", mcap_chunk("lz4", 6 << 30, LZ4_CLAIM), INFO, "6442450944 bytes when unpacked"),
        "bz2": Case("a.bag", ros1_chunk("bz2", 600 << 20, bz2), INFO, "629145600 bytes, and at most"),
        "bz2 that lies": Case("a.bag", ros1_chunk("bz2", 1000, bz2), INFO, "unpacks to more than 1000 bytes"),
        "bz2 of many times its size": Case(
            "a.bag", ros1_chunk("bz2", 200 << 20, bz2_zeros(200)), INFO, "more than 40000 times its size"
        ),
        "lz4": Case("a.bag", ros1_chunk("lz4", 100, LZ4_CLAIM), INFO, "no message can be read"),
        "view": Case(
            "a.db3",
            sqlite(*TOPICS, f"CREATE VIEW messages AS {rows}"),
            INFO,
            "no tables of topics and messages",
        ),
        "view of topics": Case(
            "a.db3",
            sqlite(MESSAGES, f"CREATE VIEW topics AS {ENDLESS} x AS id, '/a' AS name, '' AS type, '' AS "
                   "serialization_format, '' AS offered_qos_profiles FROM c"),
            INFO,
            "no tables of topics and messages",
        ),
        "computed column": Case(
            "a.db3",
            sqlite(
                *TOPICS,
                "CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER, timestamp INTEGER, data BLOB "
                "GENERATED ALWAYS AS (zeroblob(1000000000)))",
                "INSERT INTO messages(topic_id, timestamp) VALUES (1, 1)",
            ),
            INFO,
            "no tables of topics and messages",
        ),
    }  # fmt: skip
    made |= {
        f"JSON {name}": Case("a.json", content.encode(), EVALUATE, "is not JSON")
        for name, content in json_files.items()
    }
    made |= {
        f"YAML {name}": Case("a.yaml", content.encode(), ["data", "check"], "is not valid YAML")
        for name, content in yaml_files.items()
    }
    made |= {
        f"run {name}": Case("run.json", content.encode(), ["report"], "is not JSON")
        for name, content in json_files.items()
    }
    return made


def zstd_records(size: int) -> bytes:
    """Records of an unknown kind without content, packed."""
    return zstandard.compress((b"\x80" + bytes(8)) * (size // 9))


CASES = cases()
# Reads commands of JSON lines, with a limit on memory once all modules are there.
CHILD = """
import contextlib, io, json, resource, sys, traceback
import gaussian_yolo_node.bags.info, gaussian_yolo_node.frames.bag, gaussian_yolo_node.labels.predictions
import gaussian_yolo_node.evaluation.tables, gaussian_yolo_node.evaluation.kitti, gaussian_yolo_node.report.write
import gaussian_yolo_node.evaluation.protocols, gaussian_yolo_node.labels.check, gaussian_yolo_node.lab.training.config
from gaussian_yolo_node.commands.gaussian_yolo import main
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for line in sys.stdin:
    sys.argv, code = ["gaussian-yolo", *json.loads(line)], None
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            code = end.code
        except BaseException:
            traceback.print_exc()
    print(json.dumps([code, out.getvalue(), err.getvalue()]), flush=True)
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Exit code, stdout and stderr by case, of one process."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "truth.json").write_text('{"images": [], "annotations": [], "categories": [{"id": 1, "name": "car"}]}')
    lines = []
    for number, case in enumerate(CASES.values()):
        path = folder / str(number) / case.name
        path.parent.mkdir()
        path.write_bytes(case.content)
        words = [str(folder / word) if word == "truth.json" else word for word in case.command]
        lines.append(json.dumps([*words, str(path)]))
    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(MORE_MB << 20)],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    told = [json.loads(line) for line in child.stdout.splitlines()]
    assert len(told) == len(CASES), child.stderr
    return dict(zip(CASES, told, strict=True))


@pytest.mark.parametrize("name", CASES)
def test_one_line_and_exit_2(answers: dict[str, Any], name: str) -> None:
    code, _, err = answers[name]
    case = CASES[name]
    assert code == 2, err
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and "Traceback" not in err
    assert case.name in lines[0] and case.words in lines[0]


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_message_that_unpacks_to_gigabytes_is_left_out(tmp_path: Path, storage: Any) -> None:
    from gaussian_yolo_node.bags.reading import BagReader

    records = text_records(3)
    bomb = zstd_zeros(600)
    assert zstandard.frame_content_size(bomb) in (-1, 0, 600 << 20)
    bag = write_recording(tmp_path / "bag", [records[0], ("/text", START_NS + 1, bomb), *records[1:]], storage=storage)
    with BagReader(bag) as reader:
        assert [message.decode().data for message in reader.messages()] == ["0", "1", "2"]
        assert reader.notes == [
            "topic /text: messages are left out: a compressed message is damaged "
            "(it unpacks to more than 268435456 bytes)"
        ]


@pytest.mark.parametrize("fields", ["tallness", "h\nstring height"])
def test_images_of_another_definition_are_listed_as_unreadable(tmp_path: Path, fields: str) -> None:
    from gaussian_yolo_node.bags.info import read_info

    path = tmp_path / "a.mcap"
    path.write_bytes(mcap(IMAGE.format(fields), kind="sensor_msgs/msg/Image", data=b"\0\1\0\0" + bytes(64)))
    (topic,) = read_info(path).topics
    assert (topic.decodable, topic.sizes) == (False, {"unreadable": 1})


def test_honest_files_pass_the_same_limits(tmp_path: Path) -> None:
    from gaussian_yolo_node.bags.info import read_info

    constant = [("/text", START_NS + n, text("a" * 1_000_000)) for n in range(100)]
    bag = write_recording(tmp_path / "bag", constant, compression="storage")
    assert read_info(bag).messages == 100 and read_info(bag).notes == ()
    path = tmp_path / "b.mcap"
    path.write_bytes(mcap("float32[100000] a\nstring[16] b\na/C[4] c\nint8 X=3\n" + RULE + "a/C\nint8 d\n"))
    assert [topic.decodable for topic in read_info(path).topics] == [True]
