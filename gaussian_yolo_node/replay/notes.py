"""Notes on a run's bag for the reader of the run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from gaussian_yolo_node.bags import DETECTIONS, INFO_TOPIC, TRUTH_TOPIC
from gaussian_yolo_node.replay.frames import BagTime, Selection
from gaussian_yolo_node.replay.player import Played
from gaussian_yolo_node.replay.run_folder import ReplayedFrame


def notes_on(played: Played, frames: Sequence[ReplayedFrame], selection: Selection, bag_time: BagTime) -> Iterator[str]:
    """Irregularities of the bag's images, one sentence each."""
    log = played.log
    failures = Counter(frame.failure for frame in frames if frame.failure)
    if failures and all(frame.answered_s is None for frame in frames):
        yield f"no image was answered: {failures.most_common(1)[0][0]}"
    sizes = Counter(f"{frame.width}x{frame.height}" for frame in frames if frame.width)
    if len(sizes) > 1:
        counts = ", ".join(f"{size} ({count})" for size, count in sizes.most_common())
        yield f"images of {len(sizes)} sizes: {counts}; each is judged in its own px"
    oddities = (
        (log.backwards, "before the stamp of the image before"),
        (log.repeated, "equal to an earlier image's"),
        (log.zero, "0"),
    )
    odd = ", ".join(f"{count} {what}" for count, what in oddities if count)
    if odd:
        yield (
            f"header stamps that do not run forward: {odd} (of {len(log)}); they are published as they are, "
            "images go by the time they were recorded"
        )
    if bag_time.backwards:
        yield f"the bag's time runs backwards {bag_time.backwards} times: /clock stands still there"
    if played.unread_names:
        yield (
            f"{len(played.unread_names)} messages on {INFO_TOPIC} cannot be read, so that frames go by their stamps: "
            f"{played.unread_names[0]}"
        )
    if log.late:
        yield f"{log.late} answers came after their frame had been given up, and are left out"
    if not selection.has_truth:
        topic = selection.reader.topics.get(TRUTH_TOPIC)
        there = f"; what is there is of {topic.type}" if topic is not None and topic.type != DETECTIONS else ""
        yield f"the bag has no truth on {TRUTH_TOPIC}, so there is no accuracy{there}"
