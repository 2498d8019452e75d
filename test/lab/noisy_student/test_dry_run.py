"""What a chain would take, from shapes alone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

torch = pytest.importorskip("torch", reason="torch is not installed (extra 'train')")
pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra 'scale')")

from classifier_runs import make_document as make_classifier  # noqa: E402
from label_factory import encoded, make_folder, make_tar  # noqa: E402
from torch import nn  # noqa: E402
from training_runs import make_document  # noqa: E402

from gaussian_yolo_node.lab.noisy_student.chain_config import ChainConfig  # noqa: E402
from gaussian_yolo_node.lab.noisy_student.dry_run import DryRunError, costs, gradient_bytes, lines  # noqa: E402
from gaussian_yolo_node.lab.training.recipes import find_recipe  # noqa: E402


def chain_of(folder: Path, kind: str, recipe: dict[str, Any], ratio: float, **changes: Any) -> ChainConfig:
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    document = {
        "kind": kind, "teacher_recipe": "recipe.yaml", "unlabelled": ["drive"],
        "rounds": [{"name": "one", "recipe": "recipe.yaml", "ratio": ratio}], **changes,
    }  # fmt: skip
    (folder / "chain.yaml").write_text(yaml.safe_dump(document))
    return ChainConfig.load(folder / "chain.yaml")


def test_a_chain_of_classifiers_counts_its_data(tmp_path: Path) -> None:
    make_folder(tmp_path / "drive", 5)
    recipe = make_classifier(tmp_path, schedule={"epochs": 2, "batch_size": 4, "optimizer": "adamw"})
    teacher, label, student = costs(chain_of(tmp_path, "classification", recipe, 1.5))
    assert (teacher.name, label.name, student.name) == ("0_teacher train", "1_one label", "1_one train")
    assert (teacher.steps, teacher.images) == (6, 24)  # 12 images, 2 epochs
    assert (student.steps, student.images) == (6, 60)  # 4 labelled and 6 unlabelled in a step
    assert (label.images, label.steps, label.size) == (5, 0, (32, 32))
    assert label.operations * 3 * 60 == student.operations * 5
    assert teacher.fixed_bytes == 5 * 4 * teacher.parameters == 5 * label.fixed_bytes


def test_a_chain_of_detectors_counts_showings(tmp_path: Path) -> None:
    make_folder(tmp_path / "drive", 3)
    chain = chain_of(tmp_path, "detection", make_document(tmp_path, images=4, epochs=2), 2)
    teacher, label, student = costs(chain)
    assert (teacher.steps, student.steps, label.images) == (8, 24, 3)  # 4 images twice an epoch, 2 in a step
    given = costs(chain, labelled=1000, unlabelled=7)
    assert (given[0].steps, given[1].images) == (1000, 7)


def test_shards_are_not_counted_unread(tmp_path: Path) -> None:
    make_tar(tmp_path / "drive.tar", [("0.png", encoded(0))])
    chain = chain_of(tmp_path, "classification", make_classifier(tmp_path), 1, unlabelled=["drive.tar"])
    with pytest.raises(DryRunError, match="give --unlabelled N"):
        costs(chain)


def test_what_the_gradients_need_is_what_autograd_keeps() -> None:
    with torch.device("meta"):
        model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.ReLU(), nn.Conv2d(8, 1, 1))
    # The image for the first convolution's weight, and the ReLU's result for both that follow.
    assert gradient_bytes(model, (10, 20)) == (3 + 8) * 10 * 20 * 4


@pytest.mark.slow
def test_the_papers_chain_from_b7_to_l2() -> None:
    found = costs(ChainConfig.load(find_recipe("noisy_student_chain")), 1_281_167, 300_000_000)
    assert [cost.name.split()[0] for cost in found[::2]] == ["0_teacher", "1_b7", "2_l0", "3_l1", "4_l2", "5_l2_again"]
    assert [round(cost.parameters / 1e6) for cost in found[::2]] == [66, 66, 141, 273, 480, 480]
    # Of 2,048 labelled images, with 0, 3, 3, 3, 14 and 14 times as many unlabelled ones.
    assert [cost.images // cost.steps // 2048 for cost in found[::2]] == [1, 4, 4, 4, 15, 15]
    assert {cost.steps for cost in found[::2]} == {350 * 626}
    assert {cost.images for cost in found[1::2]} == {300_000_000}
    told = lines(found, 100)
    assert re.fullmatch(r"4_l2 train: 475x475 px, 480.3 M parameters, 219,100 steps of 30,720 images, 7.2 GiB and "
                        r"7.58 GiB an image, [\d,.]+ GPU hours", told[-4])  # fmt: skip
    assert told[-1].endswith("GPU hours at 100 TFLOP/s")
