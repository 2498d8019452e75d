"""RandAugment: operations keep the image's shape, magnitude 0 keeps its content, and draws are reproducible."""

from __future__ import annotations

import numpy as np
import pytest

from gaussian_yolo_node.lab.training.rand_augment import (
    GREATEST_MAGNITUDE,
    OPS,
    PHOTOMETRIC,
    RandAugmentError,
    rand_augment,
)

# These do not depend on the strength.
WITHOUT_STRENGTH = {"auto_contrast", "equalize", "invert"}


def picture(height: int = 24, width: int = 40) -> np.ndarray:
    return np.random.default_rng(0).integers(30, 220, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", OPS)
@pytest.mark.parametrize("magnitude", [0, 5, 10, 27, GREATEST_MAGNITUDE])
def test_operation_gives_an_image_of_the_same_form_and_leaves_its_input(name: str, magnitude: float) -> None:
    image = picture()
    before = image.copy()
    for seed in range(4):
        changed = rand_augment(image, np.random.default_rng(seed), 1, magnitude, names=[name])
        assert changed.shape == image.shape and changed.dtype == np.uint8
        if magnitude == 0 and name not in WITHOUT_STRENGTH:
            assert np.abs(changed.astype(int) - image).max() <= 1
    assert (image == before).all()


@pytest.mark.parametrize("name", OPS)
def test_operation_of_strength_changes_something(name: str) -> None:
    image = picture()
    assert any(
        (rand_augment(image, np.random.default_rng(seed), 1, 10, names=[name]) != image).any() for seed in range(4)
    )


@pytest.mark.parametrize("value", [0, 128, 255])
@pytest.mark.parametrize("name", OPS)
@pytest.mark.parametrize("size", [(1, 1), (8, 3)])
def test_flat_and_tiny_images_pass(name: str, value: int, size: tuple[int, int]) -> None:
    image = np.full((*size, 3), value, np.uint8)
    assert rand_augment(image, np.random.default_rng(1), 2, 15, names=[name]).shape == image.shape


@pytest.mark.parametrize("name", PHOTOMETRIC)
def test_photometric_operations_move_nothing(name: str) -> None:
    image = np.full((32, 64, 3), 60, np.uint8)
    image[8:20, 16:40] = 200
    edges = np.abs(np.diff(image.astype(int), axis=1)).sum(2) > 0
    for seed in range(4):
        changed = rand_augment(image, np.random.default_rng(seed), 1, 10, names=[name])
        moved = np.abs(np.diff(changed.astype(int), axis=1)).sum(2) > 40
        if name == "cutout":  # except for the square's edges
            moved &= (changed[:, 1:] != 128).any(2) & (changed[:, :-1] != 128).any(2)
        assert not (moved & ~edges).any() or name == "sharpness"


def test_known_values() -> None:
    image = np.array([[[0, 100, 200], [255, 128, 127]]], np.uint8)

    def once(name: str, magnitude: float = 10) -> list:
        return rand_augment(image, np.random.default_rng(0), 1, magnitude, names=[name]).tolist()

    assert once("invert") == [[[255, 155, 55], [0, 127, 128]]]
    assert once("solarize", 5) == [[[0, 100, 55], [0, 127, 127]]]
    assert once("solarize_add") == [[[110, 210, 200], [255, 128, 237]]]
    assert once("posterize") == [[[0, 96, 192], [240, 128, 112]]]
    assert once("auto_contrast") == [[[0, 0, 255], [255, 255, 0]]]


def test_draws_repeat_by_seed_and_differ_between_seeds() -> None:
    image = picture()
    results = [rand_augment(image, np.random.default_rng(seed), 2, 15) for seed in (3, 3, 4, 5, 6)]
    assert (results[0] == results[1]).all()
    assert any((results[0] != other).any() for other in results[2:])


def test_no_operation_is_the_image_itself() -> None:
    image = picture()
    assert rand_augment(image, np.random.default_rng(0), 0, 15) is image


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ops": -1, "magnitude": 5}, "at least 0, not -1"),
        ({"ops": 1, "magnitude": -1}, "between 0 and 30, not -1"),
        ({"ops": 1, "magnitude": 31}, "between 0 and 30, not 31"),
        ({"ops": 1, "magnitude": float("nan")}, "between 0 and 30, not nan"),
        ({"ops": 1, "magnitude": 5, "names": ["twist"]}, "no operation 'twist'; it has auto_contrast"),
    ],
)
def test_options_out_of_range_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(RandAugmentError, match=message):
        rand_augment(picture(), np.random.default_rng(0), **arguments)
