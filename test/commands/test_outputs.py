"""Every command that writes makes the parent folders of its outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import typer
import yaml
from typer.testing import CliRunner

pytest.importorskip("torch", reason="torch is not installed (extra 'train')")
pytest.importorskip("tensorboard", reason="tensorboard is not installed (extra 'train')")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra 'cpu')")
pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra 'scale')")
pytest.importorskip("rosbags", reason="rosbags is not installed (extra 'bags')")

from darknet_factory import random_weights, small_cfg
from factories import Planted, make_model
from style_factory import make_stripes
from training_runs import make_document

from gaussian_yolo_node.commands.gaussian_yolo import app
from gaussian_yolo_node.lab.networks.darknet_cfg import parse_cfg, write_cfg
from gaussian_yolo_node.lab.networks.darknet_files import write_weights
from gaussian_yolo_node.lab.training.checkpoint import export_checkpoint
from gaussian_yolo_node.lab.training.train import run as train

Run = Callable[..., tuple[int, str, str]]
OUTPUTS = ("output", "json_path", "video_path", "losses", "samples", "save_onnx")
TINY = "--extractor efficientnet_lite0 --steps 1 --coarse-steps 0"
# WORLD is the folder of the fixture, NEW/.. an output in a folder that does not exist.
COMMANDS = {
    "detect": "WORLD/image --model WORLD/model.onnx --runtime onnxruntime --json NEW/a.json --video NEW/b.mp4",
    "calibrate": "WORLD/model.onnx --images WORLD/image --labels WORLD/label --least-score 0.001 --runtime onnxruntime "
    "-o NEW/a.onnx",
    "operating-points": "WORLD/model.onnx WORLD/recipe.yaml --runtime onnxruntime --canvas 64x96 -o NEW/a.onnx "
    "--json NEW/b.json",
    "train": "WORLD/recipe.yaml -o NEW/run",
    "noisy-student train": "WORLD/recipe.yaml -o NEW/run",
    "export": "WORLD/run/last.pt -o NEW/a.onnx",
    "import-darknet": "WORLD/small.cfg WORLD/small.weights -o NEW/a.onnx",
    "quantize": "WORLD/trained.onnx --frames WORLD/image -o NEW/a.onnx",
    "stylize": f"WORLD/image/000000.png WORLD/style.png {TINY} -o NEW/a.png --losses NEW/b.json",
    "fixres": "WORLD/run/last.pt WORLD/recipe.yaml --size 96x128 --epochs 1 -o NEW/run",
    "evaluate": "--ground-truth WORLD/label --predictions WORLD/found.json --json NEW/a.json",
    "report": "--ground-truth WORLD/label --predictions WORLD/found.json -o NEW/a.html",
    "robustness": "WORLD/model.onnx WORLD/image --labels WORLD/label --corruptions contrast --severities 1 -o NEW/out",
    "benchmark": "WORLD/model.onnx --runtime onnxruntime --frames 1 --size 64x96 --json NEW/a.json",
    "data check": "--format kitti --images WORLD/image --labels WORLD/label --samples NEW/pictures --json NEW/a.json",
    "noisy-student label": "WORLD/image --teacher WORLD/model.onnx -o NEW/labels",
    "noisy-student select": "WORLD/labels -o NEW/a.json",
    "noisy-student iterate": "WORLD/chain.yaml -o NEW/chain",
    "bag make": "WORLD/image -o NEW/a.mcap",
    "bag info": "WORLD/drive.mcap --json NEW/a.json",
    # Without TensorRT or a GPU it ends after it has made the folders.
    "build-engine": "WORLD/model.onnx -o NEW/a.engine --save-onnx NEW/other/b.onnx",
}
# They make folders as `train` does, and take long.
AS_TRAIN = ("noisy-student train", "noisy-student iterate", "fixres")
# test/replay/test_replay.py, because it needs ROS; test/lab/classification/test_cifar_transfer.py
ELSEWHERE = {"replay", "transfer"}


def _commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    if hasattr(command, "commands"):
        for name, inner in command.commands.items():
            yield from _commands(inner, (*path, name))
    else:
        yield " ".join(path), command


def test_the_table_has_every_output_of_every_command() -> None:
    for name, command in _commands(typer.main.get_command(app)):
        options = [option for option in command.params if option.name in OUTPUTS]
        words = COMMANDS.get(name, "").split()
        assert name in ELSEWHERE or all(set(option.opts) & set(words) for option in options), name


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Something for every command to read."""
    folder = tmp_path_factory.mktemp("world")
    document = make_document(folder, images=32, epochs=1, batch_size=16)
    document["data"]["validation"] = [{"name": "town", "format": "kitti", "images": "image", "labels": "label"}]
    recipe = folder / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(document))
    make_model(folder / "model.onnx", planted=[Planted((8, 8, 38, 34))], classes=("car",))
    rng = np.random.default_rng(0)
    for label in sorted((folder / "label").iterdir()):
        box = " ".join(f"{side:.2f}" for side in np.add((8, 8, 38, 34), rng.normal(0, 1, 4)))
        label.write_text(f"Car 0 0 0 {box} 1 1 1 1 1 1 1\n")
    chain = {
        "kind": "detection", "teacher": "model.onnx", "unlabelled": ["image"],
        "rounds": [{"name": "one", "recipe": "recipe.yaml"}],
    }  # fmt: skip
    (folder / "chain.yaml").write_text(yaml.safe_dump(chain))
    export_checkpoint(train(recipe, folder / "run"), folder / "trained.onnx")
    cfg = parse_cfg(small_cfg(), "small.cfg")
    write_cfg(cfg, folder / "small.cfg")
    write_weights(folder / "small.weights", random_weights(cfg))
    cv2.imwrite(str(folder / "style.png"), make_stripes())
    for words in (
        f"detect {folder}/image --model {folder}/model.onnx --json {folder}/found.json",
        f"noisy-student label {folder}/image --teacher {folder}/model.onnx -o {folder}/labels",
        f"bag make {folder}/image -o {folder}/drive.mcap",
    ):
        assert CliRunner().invoke(app, words.split(), catch_exceptions=False).exit_code == 0, words
    return folder


@pytest.mark.parametrize(
    "command", [pytest.param(name, marks=pytest.mark.slow) if name in AS_TRAIN else name for name in COMMANDS]
)
def test_parent_folders_are_made(world: Path, tmp_path: Path, run: Run, command: str) -> None:
    if command == "robustness":
        pytest.importorskip("imagecorruptions", reason="imagecorruptions-imaug is not installed")
    new = tmp_path / "new" / "folder"
    words = [*command.split(), *COMMANDS[command].replace("WORLD", str(world)).replace("NEW", str(new)).split()]
    code, _, errors = run(*words)
    outputs = [Path(word) for word in words if word.startswith(str(new))]
    if command == "build-engine" and code:
        assert all(output.parent.is_dir() for output in outputs)
        return
    assert code == 0, errors
    assert outputs and all(output.exists() for output in outputs)
