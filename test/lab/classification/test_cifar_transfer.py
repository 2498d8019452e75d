"""CIFAR's binary files, and transfers to another classification set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

torch = pytest.importorskip("torch", reason="torch is not installed (extra 'train')")

from classifier_runs import make_document, make_pictures  # noqa: E402

from gaussian_yolo_node.commands.gaussian_yolo import app  # noqa: E402
from gaussian_yolo_node.lab.classification.checkpoint import load_classifier, read_classifier  # noqa: E402
from gaussian_yolo_node.lab.classification.cifar import LAYOUTS, Layout, find_cifar, unpack_cifar  # noqa: E402
from gaussian_yolo_node.lab.classification.config import ClassifierConfig  # noqa: E402
from gaussian_yolo_node.lab.classification.train import train_classifier  # noqa: E402
from gaussian_yolo_node.lab.classification.transfer import Transfer, TransferError, transfer  # noqa: E402
from gaussian_yolo_node.labels import DatasetError  # noqa: E402

CIFAR10, CIFAR100 = LAYOUTS
NAMES = ("airplane", "automobile", "bird")


def write_cifar(folder: Path, layout: Layout, count: int = 3) -> Path:
    """`count` records per file: label N is a picture of red 10 N, green 20, blue 30, but for its first pixel."""
    folder.mkdir(parents=True)
    (folder / layout.names).write_text("\n".join(NAMES) + "\n\n")
    for files in layout.parts.values():
        for file in files:
            records = []
            for label in (number % len(NAMES) for number in range(count)):
                pixels = np.repeat(np.array([10 * label, 20, 30], np.uint8), 1024).reshape(3, 32, 32)
                pixels[0, 0, 1] = 200  # the red of row 0, column 1
                records.append(bytes([7] * (layout.label_bytes - 1) + [label]) + pixels.tobytes())
            (folder / file).write_bytes(b"".join(records))
    return folder


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.title)
def test_binary_files_are_unpacked(tmp_path: Path, layout: Layout) -> None:
    folder = write_cifar(tmp_path / "cifar", layout)
    assert find_cifar(folder) == layout
    output = unpack_cifar(folder, layout, tmp_path / "out" / "pictures")
    train, test = ([*(output / split).rglob("*.png")] for split in ("train", "test"))
    assert len(train) == 3 * len(layout.parts["train"]) and len(test) == 3
    image = cv2.imread(str(output / "train" / "bird" / "00002.png"))
    assert image.shape == (32, 32, 3) and image[5, 5].tolist() == [30, 20, 20]  # BGR
    assert image[0, 1].tolist() == [30, 20, 200] and image[1, 0].tolist() == [30, 20, 20]
    (output / "train" / "bird" / "00002.png").unlink()
    unpack_cifar(folder, layout, output)  # is there already
    assert not (output / "train" / "bird" / "00002.png").exists()


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.title)
def test_the_python_version_is_refused(tmp_path: Path, layout: Layout) -> None:
    (tmp_path / layout.pickles).write_bytes(b"\x80\x04.")
    with pytest.raises(
        DatasetError, match=rf"Python version of {layout.title}, whose pickles .* take the binary version"
    ):
        find_cifar(tmp_path)


def test_files_that_are_missing_or_damaged(tmp_path: Path) -> None:
    assert find_cifar(tmp_path) is None
    folder = write_cifar(tmp_path / "a", CIFAR10)
    (folder / "test_batch.bin").unlink()
    with pytest.raises(DatasetError, match=r"lacks test_batch\.bin of CIFAR-10"):
        find_cifar(folder)
    for content, message in ((b"", "truncated"), (bytes(3072), "truncated"), (b"\x09" + bytes(3072), "has a label 9")):
        (folder / "test_batch.bin").write_bytes(content)
        with pytest.raises(DatasetError, match=message):
            unpack_cifar(folder, CIFAR10, tmp_path / "out")
        assert not (tmp_path / "out").exists()  # nothing half-done


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("classifier")
    config = ClassifierConfig.from_dict(make_document(root, schedule={"epochs": 1}), "test")
    return train_classifier(config, root / "run")


@pytest.mark.parametrize("frozen", [True, False])
def test_a_transfer(checkpoint: Path, tmp_path: Path, frozen: bool) -> None:
    """Frozen features stay, batch norms' statistics too; the last layer learns."""
    for split in ("train", "val"):
        make_pictures(tmp_path / "data" / split, 2)
        (tmp_path / "data" / split / "dark").rename(tmp_path / "data" / split / "night")
    options = Transfer(frozen, size=32, epochs=2, batch_size=4, learning_rate=0.02)
    figures = transfer(str(checkpoint), tmp_path / "data", tmp_path / "out", options, threads=1)
    assert figures["images"] == 4 and 0 <= figures["top1"] <= figures["top5"] == 1
    before, after = (read_classifier(path)["ema"] for path in (checkpoint, tmp_path / "out" / "last.pt"))
    features = [name for name in before if not name.startswith("classifier.") and before[name].is_floating_point()]
    assert all(torch.equal(before[name], after[name]) for name in features) == frozen
    assert not torch.equal(before["classifier.weight"], after["classifier.weight"])
    assert load_classifier(tmp_path / "out" / "last.pt").classes == ("light", "night")
    assert ClassifierConfig.load(tmp_path / "out" / "recipe.yaml").schedule.freeze_batch_norm == frozen


def test_the_command_takes_cifar(checkpoint: Path, tmp_path: Path) -> None:
    folder = write_cifar(tmp_path / "cifar", CIFAR10)
    arguments = [checkpoint, folder, "-o", tmp_path / "out", "--frozen", "--size", 32, "--epochs", 1, "--threads", 1]
    result = CliRunner().invoke(app, ["transfer", *map(str, arguments)])
    assert result.exit_code == 0, result.stderr
    assert "3 test pictures: top1" in result.stdout
    assert len([*(tmp_path / "out" / "pictures" / "train").rglob("*.png")]) == 15


@pytest.mark.parametrize(
    ("model", "data", "options", "error", "message"),
    [
        ("mobilenet_v2", "data", {}, TransferError, "MODEL 'mobilenet_v2' must be a classifier's checkpoint"),
        (None, "nowhere", {}, DatasetError, "is no folder"),
        (None, ".", {}, DatasetError, "must have the folders train and test"),
        (None, "data", {"epochs": 0.0}, TransferError, "--epochs must be a number above 0"),
        (None, "data", {"size": 4}, TransferError, "--size must be a whole number at least 8"),
    ],
)
def test_transfers_that_cannot_be(
    checkpoint: Path, tmp_path: Path, model: str | None, data: str, options: dict[str, Any], error: type, message: str
) -> None:
    for split in ("train", "test"):
        make_pictures(tmp_path / "data" / split, 1)
    with pytest.raises(error, match=message):
        transfer(model or str(checkpoint), tmp_path / data, tmp_path / "out", Transfer(**options))


@pytest.mark.slow
def test_digits_of_a_network_that_has_seen_others(tmp_path: Path) -> None:
    """Features learned on the digits 0 to 4 tell 5 to 9 apart better than chance, 20 % ± 3.5."""
    datasets = pytest.importorskip("sklearn.datasets", reason="scikit-learn is not installed (extra 'bench')")
    bunch = datasets.load_digits()
    for number, (image, digit) in enumerate(zip(bunch.images, bunch.target, strict=True)):
        if number >= 1000:
            break
        place = tmp_path / ("seen" if digit < 5 else "new") / ("test" if number % 4 == 0 else "train") / f"d{digit}"
        place.mkdir(parents=True, exist_ok=True)
        enlarged = cv2.resize((image / 16 * 255).astype(np.uint8), (32, 32), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(place / f"{number}.png"), enlarged)
    document = make_document(tmp_path, model={"options": {"width": 0.35}}, schedule={"epochs": 12, "batch_size": 32})
    document["data"] = {"root": str(tmp_path), "train": "seen/train"}
    document["noise"] = {"enabled": False, "flip": 0.0, "least_crop": 0.7}
    seen = train_classifier(ClassifierConfig.from_dict(document, "test"), tmp_path / "run")
    options = Transfer(True, size=32, epochs=12, batch_size=32, learning_rate=0.02)
    assert transfer(str(seen), tmp_path / "new", tmp_path / "out", options)["top1"] > 0.35
