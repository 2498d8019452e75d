"""Mean corruption error against published figures and hand-worked cases."""

from __future__ import annotations

import pytest

from gaussian_yolo_node.lab.robustness import RobustnessError
from gaussian_yolo_node.lab.robustness.mce import (
    ALEXNET_ERRORS,
    corruption_errors,
    mean_corruption_error,
)

# Top-1 accuracies of torchvision's ResNet-50 in percent, from Results/clean_results.txt of the repository
# bethgelab/game-of-noise (Rusak et al., ECCV 2020), commit 2989b43; it gives mCE 76.70.
RESNET50_ACCURACIES = {
    "gaussian_noise": 29.29, "shot_noise": 27.03, "impulse_noise": 23.81, "defocus_blur": 38.75, "glass_blur": 26.79,
    "motion_blur": 38.67, "zoom_blur": 36.24, "snow": 32.53, "frost": 38.14, "fog": 45.83, "brightness": 68.02,
    "contrast": 39.06, "elastic_transform": 45.25, "pixelate": 44.79, "jpeg_compression": 53.41,
}  # fmt: skip


def five(means: dict[str, float]) -> dict[str, list[float]]:
    return {name: [value] * 5 for name, value in means.items()}


def test_alexnet_is_100() -> None:
    assert mean_corruption_error(five(dict(ALEXNET_ERRORS))) == pytest.approx(100.0, abs=1e-9)


def test_resnet50_is_76_7() -> None:
    errors = five({name: 1 - value / 100 for name, value in RESNET50_ACCURACIES.items()})
    assert mean_corruption_error(errors) == pytest.approx(76.70, abs=0.01)
    assert corruption_errors(errors)["glass_blur"] == pytest.approx(88.61, abs=0.02)


def test_by_hand() -> None:
    errors = {"fog": [0.1, 0.2, 0.3, 0.4, 0.5]}
    assert corruption_errors(errors)["fog"] == pytest.approx(100 * 0.3 / 0.819324)


@pytest.mark.parametrize(
    ("errors", "message"),
    [
        ({"fog": [0.5] * 4}, "fog has 4 errors"),
        ({"fog": [0.5] * 4 + [1.5]}, "outside 0..1"),
        ({"rain": [0.5] * 5}, "no error for rain"),
    ],
)
def test_bad_errors(errors: dict[str, list[float]], message: str) -> None:
    with pytest.raises(RobustnessError, match=message):
        corruption_errors(errors)


def test_all_corruptions_are_wanted() -> None:
    with pytest.raises(RobustnessError, match="fog have not been measured"):
        mean_corruption_error({name: [0.5] * 5 for name in ALEXNET_ERRORS if name != "fog"})
