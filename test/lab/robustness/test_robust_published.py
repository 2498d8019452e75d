"""ImageNet-C and ImageNet-P as published: small ones, written here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

torch = pytest.importorskip("torch", reason="torch is not installed (extra 'train')")

from classifier_runs import CLASSES, make_document, make_picture  # noqa: E402

from gaussian_yolo_node.commands.gaussian_yolo import app  # noqa: E402
from gaussian_yolo_node.lab.classification.checkpoint import Classifier  # noqa: E402
from gaussian_yolo_node.lab.classification.config import ClassifierConfig  # noqa: E402
from gaussian_yolo_node.lab.classification.train import train_classifier  # noqa: E402
from gaussian_yolo_node.lab.robustness import RobustnessError, published_classifier  # noqa: E402
from gaussian_yolo_node.lab.robustness.classifier import ClassifierOptions  # noqa: E402
from gaussian_yolo_node.lab.robustness.corruptions import CORRUPTIONS, GROUPS  # noqa: E402
from gaussian_yolo_node.lab.robustness.mce import ALEXNET_ERRORS  # noqa: E402
from gaussian_yolo_node.lab.robustness.perturbations import PERTURBATIONS  # noqa: E402
from gaussian_yolo_node.lab.robustness.published import find_published, read_sequence  # noqa: E402
from gaussian_yolo_node.lab.robustness.published_classifier import published_robustness  # noqa: E402


class Brightness(torch.nn.Module):
    """Logits `[B,2]` of pictures `[B,3,H,W]`, 0..255: dark below a mean of 110, else light."""

    def normalisation(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        mean = pixels.mean((1, 2, 3))
        return torch.stack([110 - mean, mean - 110], 1)


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file in whose place `Brightness` is loaded."""
    config = ClassifierConfig.from_dict(make_document(tmp_path / "of_classifier"), "test")
    classifier = Classifier(cast(Any, Brightness()), CLASSES, config, 0)
    monkeypatch.setattr(published_classifier, "load_classifier", lambda path: classifier)
    path = tmp_path / "last.pt"
    path.write_bytes(b"brightness")
    return path


def write_c(root: Path, *, swapped: Sequence[str] = (), severities: Sequence[int] = (1, 2, 3, 4, 5)) -> Path:
    """One JPEG per class, corruption and severity; the classes of `swapped` corruptions show each other's pictures."""
    for group, names in GROUPS.items():
        for name in names:
            for severity in severities:
                for class_id, class_name in enumerate(CLASSES):
                    folder = root / group / name / str(severity) / class_name
                    folder.mkdir(parents=True)
                    shown = 1 - class_id if name in swapped else class_id
                    cv2.imwrite(str(folder / "ILSVRC2012_val_00000293.JPEG"), make_picture(shown, severity))
    return root


def write_video(path: Path, pictures: Sequence[NDArray[np.uint8]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = pictures[0].shape[:2]
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, (width, height))
    for picture in pictures:
        video.write(picture)
    video.release()


def write_p(root: Path, names: Sequence[str]) -> Path:
    """Sequences of four frames, the third and fourth of the other class."""
    frames = [make_picture(class_id, 0) for class_id in (0, 0, 1, 1)]
    for name in names:
        write_video(root / "digital" / name / CLASSES[0] / "1.mp4", frames)
    return root


def test_imagenet_c(checkpoint: Path, tmp_path: Path) -> None:
    """A classifier that is right errs only where the labels are swapped: CE there is 1 / AlexNet's error."""
    data = find_published(write_c(tmp_path / "imagenet-c", swapped=("fog",)))
    assert data is not None and data.kind == "imagenet_c" and tuple(data.folders) == CORRUPTIONS
    cells: list[str] = []
    result = published_robustness(checkpoint, data, tmp_path / "out", ClassifierOptions(), on_cell=cells.append)
    assert set(result["errors"]["fog"].values()) == {1.0} and set(result["errors"]["snow"].values()) == {0.0}
    assert result["mce"] == pytest.approx(100 / ALEXNET_ERRORS["fog"] / 15)
    assert result["clean"] is None and result["flips"] == {} and len(cells) == 75
    assert json.loads((tmp_path / "out/robustness.json").read_text()) == result
    (tmp_path / "out/cells/fog-3.json").unlink()
    stamp = (tmp_path / "out/cells/fog-1.json").stat().st_mtime_ns
    assert published_robustness(checkpoint, data, tmp_path / "out", ClassifierOptions()) == result
    assert (tmp_path / "out/cells/fog-1.json").stat().st_mtime_ns == stamp


def test_imagenet_c_of_one_group_without_its_folder(checkpoint: Path, tmp_path: Path) -> None:
    data = find_published(write_c(tmp_path, severities=(2,)) / "weather")
    assert data is not None and tuple(data.folders) == GROUPS["weather"]
    options = ClassifierOptions(("fog", "snow"), (2,), limit=1)
    result = published_robustness(checkpoint, data, tmp_path / "out", options)
    assert result["errors"] == {"snow": {"2": 0.0}, "fog": {"2": 0.0}} and result["mce"] is None
    assert result["settings"]["files"] == 2


@pytest.mark.parametrize(("name", "flip"), [("tilt", 1 / 3), ("shot_noise", 2 / 3)])
def test_imagenet_p(checkpoint: Path, tmp_path: Path, name: str, flip: float) -> None:
    """One of three transitions flips; against the first frame, as for noise, two of three do."""
    data = find_published(write_p(tmp_path / "imagenet-p", [name]))
    assert data is not None and data.kind == "imagenet_p" and list(data.folders) == [name]
    options = ClassifierOptions(baseline_flips={name: 0.5})
    result = published_robustness(checkpoint, data, tmp_path / "out", options)
    assert result["flips"] == {name: pytest.approx(flip)} and result["mfr"] == pytest.approx(100 * flip / 0.5)
    assert result["errors"] == {} and result["mean_flip_probability"] == pytest.approx(flip)


def test_frames_of_a_sequence(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", [np.full((32, 48, 3), value, np.uint8) for value in (20, 120, 220)])
    frames = read_sequence(tmp_path / "a.mp4")
    assert [frame.shape for frame in frames] == [(32, 48, 3)] * 3
    assert [int(frame.mean()) for frame in frames] == pytest.approx([20, 120, 220], abs=4)
    write_video(tmp_path / "one.mp4", [np.zeros((32, 48, 3), np.uint8)])
    with pytest.raises(RobustnessError, match=r"one\.mp4 has 1 readable frames, and flips need two"):
        read_sequence(tmp_path / "one.mp4")


def test_other_folders_are_neither(tmp_path: Path) -> None:
    (tmp_path / "dark").mkdir()
    (tmp_path / "file").touch()
    assert find_published(tmp_path) is None and find_published(tmp_path / "file") is None
    assert find_published(tmp_path / "nowhere") is None


def test_data_that_are_damaged(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "empty" / "blur" / "zoom_blur").mkdir(parents=True)
    with pytest.raises(RobustnessError, match=r"zoom_blur has neither the folders 1 to 5 of ImageNet-C nor the videos"):
        find_published(tmp_path / "empty")
    data = find_published(write_c(tmp_path / "part", severities=(1, 2)))
    assert data is not None
    with pytest.raises(RobustnessError, match=r"gaussian_noise/3 does not exist"):
        published_robustness(checkpoint, data, tmp_path / "out", ClassifierOptions())
    (tmp_path / "part/noise/gaussian_noise/1/dark").rename(tmp_path / "part/noise/gaussian_noise/1/n01440764")
    with pytest.raises(RobustnessError, match="class 'n01440764' is not among the classifier's classes"):
        published_robustness(checkpoint, data, tmp_path / "out", ClassifierOptions(severities=(1,)))
    for path in data.folders["snow"].glob("2/*/*"):
        path.unlink()
    with pytest.raises(RobustnessError, match=r"snow/2 has no pictures in folders of classes"):
        published_robustness(checkpoint, data, tmp_path / "out", ClassifierOptions(("snow",), (2,)))
    with pytest.raises(RobustnessError, match="none of gaussian_noise"):
        published_robustness(checkpoint, data, tmp_path / "out", ClassifierOptions(()))
    with pytest.raises(RobustnessError, match="--attacks are for clean pictures"):
        published_robustness(checkpoint, data, tmp_path / "out", ClassifierOptions(attacks=("fgsm",)))


def test_the_command_recognises_both(tmp_path: Path) -> None:
    schedule = {"epochs": 1, "batch_size": 12}
    model = train_classifier(
        ClassifierConfig.from_dict(make_document(tmp_path, schedule=schedule), "t"), tmp_path / "run"
    )
    baseline = tmp_path / "alexnet.json"
    baseline.write_text(json.dumps(dict.fromkeys(PERTURBATIONS, 0.1)))
    for arguments, expected in (
        ((write_c(tmp_path / "c", severities=(1,)), "--severities", "1", "--corruptions", "fog"), "fog: errors "),
        ((write_p(tmp_path / "p", ["scale"]), "--baseline-flips", baseline), "mFR: "),
    ):
        output = tmp_path / f"out_{Path(str(arguments[0])).name}"
        result = CliRunner().invoke(
            app, ["robustness", str(model), *map(str, arguments), "-o", str(output), "--threads", "1"]
        )
        assert result.exit_code == 0, result.stderr
        assert expected in result.stdout and "clean" not in result.stdout
        assert (output / "robustness.png").stat().st_size > 1000
