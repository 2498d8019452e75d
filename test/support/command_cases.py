"""Every command that writes files, with small inputs, for tests of what it leaves behind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import yaml
from classifier_runs import make_config
from classifier_runs import make_document as make_classifier
from darknet_factory import random_weights, small_cfg
from data_factory import make_kitti
from factories import make_image, make_model
from report_factory import make_run
from style_factory import make_frames, make_styles
from training_runs import make_document

from gaussian_yolo_node.lab.classification.train import train_classifier
from gaussian_yolo_node.lab.networks.darknet_cfg import parse_cfg, write_cfg
from gaussian_yolo_node.lab.networks.darknet_files import write_weights
from gaussian_yolo_node.lab.noisy_student.labelling import label
from gaussian_yolo_node.lab.training.checkpoint import export_checkpoint
from gaussian_yolo_node.lab.training.train import run as train

FRAMES = 12


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

    def __str__(self) -> str:
        return self.line.replace("IN/", "").replace("OUT/", "")


def make_inputs(folder: Path) -> Path:
    """All that the commands read."""
    make_model(folder / "tiny.onnx")
    make_kitti(folder / "data", [f"{index:06d}" for index in range(FRAMES)])
    for index in range(FRAMES):
        (folder / "frames").mkdir(exist_ok=True)
        cv2.imwrite(str(folder / "frames" / f"{index:06d}.png"), make_image(128, 192, seed=index))
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
    CommandCase("noisy-student label IN/frames --teacher IN/tiny.onnx -o OUT/a"),
    CommandCase("noisy-student select IN/labels --threshold 0 --ignore 0 --weights none -o OUT/a.json"),
    CommandCase("noisy-student train IN/recipe.yaml -o OUT/a", large=True, kept=_TRAINING),
    CommandCase("noisy-student iterate IN/chain.yaml -o OUT/a", large=True, kept=(*_TRAINING, "manifest.json")),
    CommandCase("robustness IN/tiny.onnx IN/data --corruptions contrast --severities 1 --threads 1 -o OUT/a"),
)
