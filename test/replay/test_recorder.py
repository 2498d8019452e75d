from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="ROS 2 not present")

from gaussian_yolo_node.bags import STRING
from gaussian_yolo_node.bags.reading import BagReader
from gaussian_yolo_node.bags.typestore import make_typestore
from gaussian_yolo_node.replay.recorder import Recorder, without_gaps

HYPOTHESIS = "vision_msgs/msg/ObjectHypothesis"


def hypothesis(gap: bytes) -> bytes:
    """A message whose number starts at a multiple of eight after the class name, with `gap` in between."""
    store = make_typestore()
    raw = bytearray(store.serialize_cdr(store.types[HYPOTHESIS](class_id="cars", score=0.5), HYPOTHESIS))
    start = 4 + 4 + len("cars\0")
    raw[start : 4 + 16] = gap * (4 + 16 - start)
    return bytes(raw)


def test_gaps_between_fields_are_cleared() -> None:
    store = make_typestore()
    first, second = hypothesis(b"\x00"), hypothesis(b"\xd6")
    assert first != second
    assert without_gaps(first, HYPOTHESIS) == without_gaps(second, HYPOTHESIS)
    assert store.deserialize_cdr(without_gaps(second, HYPOTHESIS), HYPOTHESIS).score == 0.5


@pytest.mark.parametrize("repeatable", [False, True])
def test_only_topics_that_are_to_repeat_are_changed(tmp_path: Path, repeatable: bool) -> None:
    raw = hypothesis(b"\xd6")
    topics = {"/answers": HYPOTHESIS, "/copied": STRING}
    with Recorder(tmp_path / "a.mcap", topics, repeatable=["/answers"] if repeatable else []) as recorder:
        recorder.write("/answers", 1, raw)
        recorder.write("/copied", 2, b"\x00\x01\x00\x00\x02\x00\x00\x00a\x00")
    with BagReader(tmp_path / "a.mcap") as reader:
        answer, copied = (message.raw for message in reader.messages())
    assert (answer == raw) is not repeatable and copied.endswith(b"a\x00")
