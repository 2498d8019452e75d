"""Read detections from the output of `gaussian-yolo detect --json` and from the formats of evaluation tools."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gaussian_yolo_node.bags import is_bag
from gaussian_yolo_node.documents import read_json
from gaussian_yolo_node.file_names import AmbiguousNameError, FrameNames, base_name, frame_name
from gaussian_yolo_node.labels.annotations import DatasetError
from gaussian_yolo_node.labels.coco import whole_number
from gaussian_yolo_node.labels.convert import refuse
from gaussian_yolo_node.labels.kitti import read_results
from gaussian_yolo_node.labels.labelled_frames import FramePredictions, GroundTruth
from gaussian_yolo_node.labels.reading import is_number, label_files


def read_predictions(path: Path, truths: GroundTruth | None = None) -> list[FramePredictions]:
    """Read detections: the JSON of `detect --json`, the list of BDD's evaluation, COCO's results, a folder of KITTI's
    result files, or a bag.

    Args:
        truths: the ground truth. COCO's results refer to its image and category ids. Files with one record per box
            omit frames without detections, so frames of the ground truth that are not in the file have none.

    Raises:
        DatasetError: the file does not exist, or has none of these formats; the message names the record.
        BagError: the bag cannot be read, or has no detections.
    """
    if path.exists() and is_bag(path):
        from gaussian_yolo_node.labels.bag_records import read_bag_predictions

        return read_bag_predictions(path)
    if path.is_dir():
        return _read_kitti_results(path)
    document = read_json(path, "predictions file", DatasetError)
    if not isinstance(document, list):
        raise DatasetError(
            f"predictions {path} are not a JSON array: with a record a frame, as `detect --json` writes, or with a "
            'record a box, as the evaluations of BDD ("name", "category", "bbox", "score") and COCO want'
        )
    if document and isinstance(document[0], dict) and "bbox" in document[0]:
        return _by_frame(path, document, truths)
    frames = []
    for number, record in enumerate(document):
        try:
            frames.append(_frame_record(record))
        except ValueError as error:
            raise DatasetError(f"predictions {path}, record {number}: {error}") from error
    return frames


def _by_frame(path: Path, records: list[Any], truths: GroundTruth | None) -> list[FramePredictions]:
    """The frames of a file with one record per box, and those of the truths that it lacks."""
    boxes: dict[str, list[tuple[int, str, float, list[float]]]] = {}  # of each frame, with the number of the record
    names = _CocoNames(truths)
    for number, record in enumerate(records):
        try:
            frame, category, score, box = _box_record(record, names)
        except ValueError as error:
            raise DatasetError(f"predictions {path}, record {number}: {error}") from error
        boxes.setdefault(frame, []).append((number, category, score, box))
    predicted = FrameNames(boxes)
    try:
        boxes |= {name: [] for name in (truths.frames if truths else ()) if predicted.find(name) is None}
    except AmbiguousNameError as error:
        raise DatasetError(f"predictions {path}: frame {error}") from error
    frames = []
    for name, rows in boxes.items():
        places, classes, scores, corners = zip(*rows, strict=True) if rows else ((), (), (), ())
        frames.append(FramePredictions.of(name, corners, scores, classes, places=places))
    return frames


def _read_kitti_results(folder: Path) -> list[FramePredictions]:
    """The result files of KITTI's object benchmark; the devkit keeps them in a subfolder "data"."""
    files = label_files(folder, ".txt")
    if not files and (folder / "data").is_dir():
        files = label_files(folder / "data", ".txt")
    if not files:
        raise DatasetError(f"predictions {folder} have no result files (*.txt) in them, as KITTI's devkit reads")
    frames = []
    for file in files:
        rows = list(read_results(file, refuse))
        for row, score in rows:
            try:
                _score({"score": score}, "it")
                _box({"box": list(row.box)}, "box", "it")
            except ValueError as error:
                raise DatasetError(f"predictions {file}, line {row.place}: {error}") from error
        boxes, classes = [row.box for row, _ in rows], [row.name for row, _ in rows]
        frames.append(FramePredictions.of(frame_name(file.name), boxes, [score for _, score in rows], classes))
    return frames


def _frame_record(record: Any) -> FramePredictions:
    if not isinstance(record, dict):
        raise ValueError("it is not an object")
    frame = record.get("frame")
    if not isinstance(frame, str | int) or isinstance(frame, bool):
        raise ValueError('"frame" is neither a name nor an index')
    detections = record.get("detections")
    if not isinstance(detections, list):
        raise ValueError('"detections" is not an array')
    boxes, scores, classes, sigmas = [], [], [], []
    for number, detection in enumerate(detections):
        where = f"detection {number}"
        if not isinstance(detection, dict):
            raise ValueError(f"{where} is not an object")
        if not isinstance(detection.get("class"), str):
            raise ValueError(f'{where} has no "class"')
        classes.append(detection["class"])
        scores.append(_score(detection, where))
        boxes.append(_box(detection, "box", where))
        sigma = detection.get("sigma")
        if sigma is not None:
            if not _are_four(sigma) or min(sigma) < 0:
                raise ValueError(f'{where} has a "sigma" that is not four numbers from 0 up: {sigma}')
            sigmas.append(sigma)
    # Sigmas of only some detections (a file merged from two) are unusable.
    return FramePredictions.of(frame, boxes, scores, classes, sigmas if len(sigmas) == len(boxes) else None)


class _CocoNames:
    """Names of the frames and categories that COCO's results refer to."""

    def __init__(self, truths: GroundTruth | None) -> None:
        self._images = truths.image_ids if truths else {}
        self._categories = truths.category_ids if truths else {}
        self._frames = FrameNames(self._images.values())
        self._numbered: dict[int, list[str]] = {}  # by the number that is the file's name
        for name in self._images.values():
            base = base_name(frame_name(name))
            if base.isdecimal():
                self._numbered.setdefault(int(base), []).append(name)

    def frame(self, record: dict[str, Any]) -> str:
        """The frame of a record: of its file_name, if it has one; else of its image_id, which some tools make of the
        file's name."""
        key = record["image_id"]
        if not self._images:
            raise ValueError('it has an "image_id", as COCO\'s results have: the ground truth must be COCO JSON, too')
        named = record.get("file_name", key)
        if isinstance(named, str):
            match = self._frames.find(named)
            if match is not None:
                return match
        number = None if "file_name" in record else whole_number(key)
        if number is not None and number in self._images:
            return self._images[number]
        of_number = [] if number is None else self._numbered.get(number, [])
        if len(of_number) > 1:
            raise ValueError(f'its "image_id" {number} may be {of_number[0]} or {of_number[1]}: add "file_name"')
        if not of_number:
            what = "file_name" if "file_name" in record else "image_id"
            raise ValueError(f'its "{what}" {record[what]} is not in the ground truth')
        return of_number[0]

    def category(self, record: dict[str, Any]) -> str:
        number = whole_number(record.get("category_id"))
        if number is None or number not in self._categories:
            raise ValueError(f'its "category_id" {record.get("category_id")} is not in the ground truth')
        return self._categories[number]


def _box_record(record: Any, names: _CocoNames) -> tuple[str, str, float, list[float]]:
    """Frame, class, score and corners."""
    if not isinstance(record, dict):
        raise ValueError("it is not an object")
    frame, category = record.get("name"), record.get("category")
    if "image_id" in record:
        frame, category = names.frame(record), names.category(record)
        if _are_four(record.get("bbox")):
            x, y, width, height = record["bbox"]
            record = {**record, "bbox": [x, y, x + width, y + height]}
    score, box = _score(record, "it"), _box(record, "bbox", "it")
    if not isinstance(frame, str) or not isinstance(category, str):
        raise ValueError('it has neither "name" and "category" nor COCO\'s "image_id" and "category_id"')
    return frame, category, score, box


def _score(record: dict[str, Any], where: str) -> float:
    score: Any = record.get("score")
    if not is_number(score):
        raise ValueError(f'{where} has no finite "score"')
    if not 0 <= score <= 1:
        raise ValueError(f'{where} has a "score" of {score}, and scores are from 0 to 1: scale them')
    return float(score)


def _box(record: dict[str, Any], key: str, where: str) -> list[float]:
    box: Any = record.get(key)
    if not _are_four(box):
        raise ValueError(f'{where} has no "{key}" of four finite numbers')
    if box[0] > box[2] or box[1] > box[3]:
        raise ValueError(f'{where} has a "{key}" that is not x1 <= x2, y1 <= y2: {box}')
    return [float(value) for value in box]


def _are_four(values: Any) -> bool:
    return isinstance(values, list) and len(values) == 4 and all(map(is_number, values))
