"""Two processes train a classifier like one, started by the user's command; a signal leaves a checkpoint."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

pytest.importorskip("torch", reason="torch is not installed (extra 'train')")
pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra 'scale')")

import torch
from classifier_runs import make_document, make_pseudo
from command_line import Run

from gaussian_yolo_node.lab.classification.checkpoint import initial_network, read_classifier
from gaussian_yolo_node.lab.classification.config import ClassifierConfig
from gaussian_yolo_node.lab.classification.train import CHECKPOINT, train_classifier

REPOSITORY = Path(__file__).resolve().parents[3]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
COMMAND = ["-m", "gaussian_yolo_node.commands", "noisy-student", "train"]


@pytest.mark.slow  # the trainer is the one of detection, whose test is not slow
def test_two_processes_do_the_steps_of_one(tmp_path: Path) -> None:
    make_pseudo(tmp_path / "pseudo")
    document = make_document(
        tmp_path,
        data={"pseudo": "pseudo/selected.json"},
        model={"backbone": "mobilenet_v1", "image_size": 64},
        noise={"enabled": False, "least_crop": 0.7},
        schedule={"optimizer": "sgd", "learning_rate": 1e-3, "warmup_steps": 0, "epochs": 0.6, "clip_norm": 0},
    )
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(document))
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    result = subprocess.run(
        [sys.executable, *launcher, *COMMAND, str(recipe), "-o", str(tmp_path / "two"), "--threads", "1"],
        env=ENVIRONMENT, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("2 processes") == 1  # only one process reports
    config = ClassifierConfig.load(recipe)
    one, two = (
        read_classifier(path) for path in (train_classifier(config, tmp_path / "one"), tmp_path / "two/last.pt")
    )
    assert one["step"] == two["step"] == 2
    torch.manual_seed(config.schedule.seed)
    start = initial_network(config, 2).state_dict()
    learned = [name for name, value in start.items() if value.is_floating_point()]
    moved, apart = (
        torch.cat([(a[name] - b[name]).flatten() for name in learned])
        for a, b in ((one["model"], start), (two["model"], one["model"]))
    )
    assert float(moved.norm()) > 0 and float(apart.norm() / moved.norm()) < 0.01


@pytest.mark.slow  # the loop is the one of detection, whose tests are not slow
def test_ctrl_c_saves_and_the_run_goes_on(run: Run, tmp_path: Path) -> None:
    document = make_document(tmp_path, schedule={"epochs": 5000, "checkpoint_minutes": 0.0})
    recipe, output = tmp_path / "recipe.yaml", tmp_path / "out"
    recipe.write_text(yaml.safe_dump(document))
    command = [sys.executable, *COMMAND, str(recipe), "-o", str(output), "--threads", "1"]
    process = subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    try:
        while not (output / CHECKPOINT).exists() and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130, errors
    step = int(read_classifier(output / CHECKPOINT)["step"])
    assert step > 0 and errors.endswith("interrupted\n")
    document["schedule"]["epochs"] = (step + 1) / 3
    recipe.write_text(yaml.safe_dump(document))
    again = run("noisy-student", "train", recipe, "-o", output, "--threads", 1, "--resume")
    assert again.code == 0, again.err
    assert read_classifier(output / CHECKPOINT)["step"] == step + 1
