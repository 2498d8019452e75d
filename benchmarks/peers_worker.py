"""A detector of other makers, timed in an environment of its own for `peers.py`; imports nothing of this package.

One JSON object per line. The first request opens a peer and is answered with its description:

    {"peer": "onnxruntime", "model": "yolox_nano.onnx", "card": null, "canvas": [384, 1248], "threads": null}
    {"description": "ONNX Runtime 1.32.0"}

Each further one is a frame, answered with the time from pixels to detections in ms and the number of detections:

    {"frame": "000000.jpg"}
    {"ms": 41.3, "detections": 5}

An error is answered with `{"error": "..."}` and ends the process; so does the end of the input.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from time import perf_counter
from types import ModuleType, SimpleNamespace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

SCORE_THRESHOLD, IOU_THRESHOLD = 0.3, 0.45  # the defaults of YOLOX's demo
Size = tuple[int, int]
Pair = tuple[float, float]
Request = dict[str, Any]
Floats = NDArray[np.float32]
Network = Callable[[NDArray[Any]], list[Floats]]  # input blob -> outputs
Found = tuple[Floats, Floats, NDArray[np.intp]]  # corners [N, 4] in frame px, scores [N], class ids [N]
Detect = Callable[[NDArray[np.uint8]], Any]  # frame -> something with a length, the number of detections


def main() -> None:
    """Answer requests until the input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not come between the answers

    def answer(**values: Any) -> None:
        print(json.dumps(values), file=answers, flush=True)

    try:
        detect, description = open_peer(json.loads(sys.stdin.readline()))
        answer(description=description)
        for line in sys.stdin:
            frame = read(json.loads(line)["frame"])
            detect(frame)  # what another detector left in the caches is gone
            started = perf_counter()
            found = detect(frame)
            answer(ms=(perf_counter() - started) * 1e3, detections=len(found))
    except Exception as error:
        answer(error=f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
        sys.exit(1)


def read(path: str) -> NDArray[np.uint8]:
    """An image file, uint8 [H, W, 3] BGR."""
    image = cv2.imread(path)
    if image is None:
        raise ValueError(f"{path} is not an image that OpenCV can read")
    return np.asarray(image, np.uint8)


def open_peer(request: Request) -> tuple[Detect, str]:
    """The detector of a request, and what it is made of."""
    if request["peer"] == "ultralytics":
        return open_ultralytics(request["model"], request["canvas"], request["threads"])
    network, description = {"onnxruntime": open_onnxruntime, "opencv": open_opencv}[request["peer"]](sized(request))
    canvas, card = (request["canvas"][0], request["canvas"][1]), request["card"]
    if card is None:
        return lambda frame: detect_yolox(network, frame, canvas)[1], description
    return lambda frame: detect_gaussian(network, frame, canvas, card)[1], description


def sized(request: Request) -> bytes:
    """An ONNX graph with a fixed canvas; NCHW, or NHWC if the model has this package's card."""
    import onnx

    model = onnx.load(request["model"])
    axes = (2, 3) if request["card"] is None else (1, 2)
    shape = model.graph.input[0].type.tensor_type.shape
    for axis, size in zip(axes, request["canvas"], strict=True):
        shape.dim[axis].dim_value = size
    del model.graph.value_info[:]
    for output in model.graph.output:
        for axis, dimension in enumerate(output.type.tensor_type.shape.dim):
            dimension.dim_param = f"{output.name}_{axis}"  # follows from the canvas
    return bytes(model.SerializeToString())


def open_onnxruntime(graph: bytes) -> tuple[Network, str]:
    """ONNX Runtime as its first example opens it."""
    import onnxruntime

    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda blob: session.run(None, {name: blob}), f"ONNX Runtime {onnxruntime.__version__}"


def open_opencv(graph: bytes) -> tuple[Network, str]:
    """OpenCV's DNN module with its own CPU backend."""
    net = cv2.dnn.readNetFromONNX(np.frombuffer(graph, np.uint8))
    names = net.getUnconnectedOutLayersNames()

    def infer(blob: NDArray[Any]) -> list[Floats]:
        net.setInput(blob)
        return [np.asarray(output, np.float32) for output in net.forward(names)]

    return infer, f"OpenCV {cv2.__version__}"


def open_ultralytics(name: str, canvas: Sequence[int], threads: int | None) -> tuple[Detect, str]:
    """Ultralytics' `predict` on the CPU; random weights if the published ones cannot be had."""
    stand_in = _stand_in_for_torchvision()
    import torch
    from ultralytics import YOLO, __version__, settings

    settings.update({"sync": False})  # no telemetry beside the timing
    try:
        model, weights = YOLO(f"{name}.pt"), "published weights"
    except OSError:
        model, weights = YOLO(f"{name}.yaml"), "random weights"

    def detect(frame: NDArray[np.uint8]) -> Any:
        # rect=False: the whole canvas, whatever the shape of the frame.
        return model.predict(frame, imgsz=list(canvas), rect=False, device="cpu", verbose=False)[0].boxes

    detect(np.zeros((*canvas, 3), np.uint8))  # sets its own number of threads
    if threads is not None:
        torch.set_num_threads(threads)
    shown = f"{torch.get_num_threads()} thread{'s' if torch.get_num_threads() != 1 else ''}"
    own = "" if threads is not None else " (its default)"
    return detect, f"Ultralytics {__version__}, torch {torch.__version__}, {shown}{own}, {weights}{stand_in}"


def _stand_in_for_torchvision() -> str:
    """PyPI's torchvision is built for CUDA and does not load beside torch for the CPU; only its NMS is needed."""
    try:
        import torchvision  # noqa: F401
    except (ImportError, OSError, RuntimeError):
        from ultralytics.utils.nms import TorchNMS

        module = ModuleType("torchvision")
        module.ops = SimpleNamespace(nms=TorchNMS.nms)  # type: ignore[attr-defined]
        sys.modules["torchvision"] = module
        return ", its own NMS"
    return ""


def detect_yolox(network: Network, frame: NDArray[np.uint8], canvas: Size) -> Found:
    """YOLOX: BGR 0..255, NCHW float32; one output [1, N, 5 + classes], cells of strides 8, 16 and 32."""
    image, scale, offset = letterbox(frame, canvas, 114)
    (raw,) = network(np.ascontiguousarray(image.transpose(2, 0, 1)[None], np.float32))
    places = np.concatenate([_cells(canvas, stride) for stride in (8, 16, 32)])
    raw = raw[0]
    centres = (raw[:, :2] + places[:, :2]) * places[:, 2:]
    sizes = np.exp(raw[:, 2:4]) * places[:, 2:]
    return suppress(centres, sizes, raw[:, 4:5] * raw[:, 5:], SCORE_THRESHOLD, IOU_THRESHOLD, scale, offset)


def detect_gaussian(network: Network, frame: NDArray[np.uint8], canvas: Size, card: dict[str, Any]) -> Found:
    """This package's networks, decoded cell by cell as their card says: BGR uint8 NHWC; a head per stride."""
    image, scale, offset = letterbox(frame, canvas, 128)
    centres, sizes, scores = [], [], []
    heads = sorted(network(image[None]), key=lambda head: head.shape[2])  # the card lists the coarsest first
    for head, anchors, stride in zip(heads, card["anchors"], card["strides"], strict=True):
        rows, columns = head.shape[2:]
        raw = head.reshape(len(anchors), -1, rows * columns).transpose(0, 2, 1)
        activated = 1 / (1 + np.exp(-raw))
        centres.append((activated[..., 0:4:2] + _cells(canvas, stride)[:, :2]) * stride)
        sizes.append(np.exp(raw[..., 4:8:2]) * np.array(anchors, np.float32)[:, None])
        scores.append(activated[..., 8:9] * activated[..., 9:] * (1 - activated[..., 1:8:2].mean(-1, keepdims=True)))
    flat = [np.concatenate([part.reshape(-1, part.shape[-1]) for part in parts]) for parts in (centres, sizes, scores)]
    return suppress(flat[0], flat[1], flat[2], card["score_threshold"], card["iou_threshold"], scale, offset)


def letterbox(frame: NDArray[np.uint8], canvas: Size, pad: int) -> tuple[NDArray[np.uint8], Pair, Pair]:
    """The frame in the middle of a padded canvas; canvas px per frame px and the offset in px, each for x and y."""
    scale = min(canvas[0] / frame.shape[0], canvas[1] / frame.shape[1])
    height, width = int(frame.shape[0] * scale), int(frame.shape[1] * scale)
    left, top = (canvas[1] - width) // 2, (canvas[0] - height) // 2
    padded = np.full((*canvas, 3), pad, np.uint8)
    padded[top : top + height, left : left + width] = cv2.resize(frame, (width, height))
    return padded, (width / frame.shape[1], height / frame.shape[0]), (left, top)


def suppress(
    centres: Floats, sizes: Floats, scores: Floats, score: float, iou: float, scale: Pair, offset: Pair
) -> Found:
    """Non-maximum suppression per class by OpenCV, then corners in frame px."""
    rows, ids = np.nonzero(scores > score)
    kept = scores[rows, ids]
    boxes = np.concatenate([centres[rows] - sizes[rows] / 2, sizes[rows]], 1)
    best = np.array(cv2.dnn.NMSBoxesBatched(boxes.tolist(), kept.tolist(), ids.tolist(), score, iou), int)
    corners = np.concatenate([boxes[best, :2], boxes[best, :2] + boxes[best, 2:]], 1)
    return np.asarray((corners - np.array(offset * 2)) / (scale * 2), np.float32), kept[best], ids[best]


def _cells(canvas: Size, stride: int) -> Floats:
    """Column, row and stride of each cell, row by row."""
    columns, rows = np.meshgrid(np.arange(canvas[1] // stride), np.arange(canvas[0] // stride))
    return np.stack([columns.ravel(), rows.ravel(), np.full(rows.size, stride)], 1).astype(np.float32)


if __name__ == "__main__":
    main()
