"""A classifier under corruptions, perturbation sequences and attacks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

torch = pytest.importorskip("torch", reason="torch is not installed (extra 'train')")

from classifier_runs import make_document, make_pictures  # noqa: E402
from factories import make_image  # noqa: E402

from gaussian_yolo_node.commands.gaussian_yolo import app  # noqa: E402
from gaussian_yolo_node.lab.classification.config import ClassifierConfig  # noqa: E402
from gaussian_yolo_node.lab.classification.train import train_classifier  # noqa: E402
from gaussian_yolo_node.lab.robustness import RobustnessError  # noqa: E402
from gaussian_yolo_node.lab.robustness.classifier import (  # noqa: E402
    ClassifierOptions,
    classifier_robustness,
    read_baseline,
)
from gaussian_yolo_node.lab.robustness.perturbations import PERTURBATIONS, sequence  # noqa: E402

ATTACKED = ClassifierOptions((), (1,), ("brightness",), ("fgsm", "pgd"), (0.0, 8.0, 64.0))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier that distinguishes dark from light images."""
    root = tmp_path_factory.mktemp("classifier")
    config = ClassifierConfig.from_dict(make_document(root, schedule={"epochs": 4, "learning_rate": 0.01}), "test")
    return train_classifier(config, root / "run")


@pytest.fixture
def pictures(tmp_path: Path) -> Iterator[Path]:
    yield make_pictures(tmp_path / "pictures", 3)


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_sequences_go_on_and_repeat(name: str) -> None:
    image = make_image(40, 48)
    first, again = (sequence(image, name, np.random.default_rng(3), 5) for _ in range(2))
    assert all(np.array_equal(one, other) for one, other in zip(first, again, strict=True))
    assert all(frame.shape == image.shape and frame.dtype == np.uint8 for frame in first)
    assert all(not np.array_equal(one, other) for one, other in pairwise(first))


@pytest.mark.parametrize(("name", "frames", "message"), [("fog", 5, "no perturbation 'fog'"), ("tilt", 1, "2 or more")])
def test_sequences_that_cannot_be(name: str, frames: int, message: str) -> None:
    with pytest.raises(RobustnessError, match=message):
        sequence(make_image(40, 48), name, np.random.default_rng(0), frames)


def test_epsilon_0_changes_nothing_and_results_are_kept(checkpoint: Path, pictures: Path, tmp_path: Path) -> None:
    output, made = tmp_path / "out", []
    result = classifier_robustness(checkpoint, pictures, output, ATTACKED)
    assert result["attacks"]["fgsm"]["0"] == result["attacks"]["pgd"]["0"] == result["clean"]
    assert result["attacks"]["pgd"]["64"] <= result["clean"] and set(result["flips"]) == {"brightness"}
    assert result["mce"] is None and result["mfr"] is None
    (output / "cells/pgd-8.json").unlink()
    stamp = (output / "cells/fgsm-8.json").stat().st_mtime_ns
    assert classifier_robustness(checkpoint, pictures, output, ATTACKED, on_cell=made.append) == result
    assert (output / "cells/fgsm-8.json").stat().st_mtime_ns == stamp
    assert json.loads((output / "robustness.json").read_text()) == result


def test_errors_and_mce(checkpoint: Path, pictures: Path, tmp_path: Path) -> None:
    pytest.importorskip("imagecorruptions", reason="imagecorruptions-imaug is not installed")
    options = ClassifierOptions(perturbations=(), limit=1)
    result = classifier_robustness(checkpoint, pictures, tmp_path / "out", options)
    assert len(result["errors"]) == 15 and all(len(row) == 5 for row in result["errors"].values())
    assert 0 <= result["mce"] <= 200


def test_the_mask_leaves_only_the_classes_of_the_data(checkpoint: Path, pictures: Path, tmp_path: Path) -> None:
    for path in (pictures / "dark").iterdir():
        path.unlink()
    (pictures / "dark").rmdir()
    options = ClassifierOptions((), (1,), (), mask=True)
    assert classifier_robustness(checkpoint, pictures, tmp_path / "out", options)["clean"] == 1.0


def test_a_baseline_gives_mfr(checkpoint: Path, pictures: Path, tmp_path: Path) -> None:
    path = tmp_path / "base.json"
    path.write_text('{"flips": {"gaussian_noise": 0.2}}')
    options = ClassifierOptions((), (1,), ("gaussian_noise",), baseline_flips=read_baseline(path))
    result = classifier_robustness(checkpoint, pictures, tmp_path / "out", options)
    assert result["mfr"] == pytest.approx(100 * result["flips"]["gaussian_noise"] / 0.2)


@pytest.mark.parametrize(
    ("text", "message"), [(None, "cannot be read"), ("{", "no JSON of flip"), ('{"a": "x"}', "no JSON of flip")]
)
def test_a_baseline_that_is_none(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "base.json").write_text(text)
    with pytest.raises(RobustnessError, match=message):
        read_baseline(tmp_path / "base.json")


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["robustness", *map(str, arguments)])


def test_the_command(checkpoint: Path, pictures: Path, tmp_path: Path) -> None:
    result = run(checkpoint, pictures, "-o", tmp_path / "out", "--corruptions", "none", "--perturbations", "tilt",
                 "--attacks", "fgsm", "--epsilons", "0,4", "--threads", 1)  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert "clean top-1" in result.stdout and "tilt sequences" in result.stdout and "fgsm: top-1" in result.stdout
    assert (tmp_path / "out/robustness.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--attacks", "cw"), "no attack 'cw': known are fgsm, pgd"),
        (("--attacks", "fgsm", "--epsilons", "300"), "epsilon 300.0 is not possible"),
        (("--epsilons", "few"), "--epsilons 'few' must be numbers"),
        (("--perturbations", "fog"), "no perturbation 'fog'"),
        (("--severities", "6"), "severity 6 does not exist"),
        (("--corruptions", "rain"), "no corruption 'rain'"),
    ],
)
def test_bad_options(checkpoint: Path, pictures: Path, tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    result = run(checkpoint, pictures, "-o", tmp_path / "out", *options)
    assert result.exit_code == 2 and result.stderr.startswith("error: ") and message in result.stderr


def test_corruptions_and_attacks_of_a_detector_are_two_tests(tmp_path: Path) -> None:
    options = ("--attacks", "fgsm", "--corruptions", "fog")
    result = run("efficientnet_lite0_kitti", tmp_path, "-o", tmp_path / "out", *options)
    assert result.exit_code == 2 and "are two tests" in result.stderr
