"""The 15 common corruptions at 5 severities of ImageNet-C (Hendrycks & Dietterich, ICLR 2019, section 4.1).

The library `imagecorruptions` computes the pixels, for any image size. It draws from numpy's global generator, and in
two places from its own generators. Here each image has its own seed, so the result does not depend on the process or on
the images before it.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import warnings
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.errors import install_line
from gaussian_yolo_node.file_names import hashable
from gaussian_yolo_node.lab.robustness import RobustnessError

Image = NDArray[np.uint8]

GROUPS = {
    "noise": ("gaussian_noise", "shot_noise", "impulse_noise"),
    "blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    "weather": ("snow", "frost", "fog", "brightness"),
    "digital": ("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
}
CORRUPTIONS = tuple(name for group in GROUPS.values() for name in group)
SEVERITIES = (1, 2, 3, 4, 5)
LEAST_SIDE = 32  # px, minimum of the library

# These have their own generator, which takes a seed.
_TAKE_SEED = ("impulse_noise", "glass_blur")
_DISTRIBUTIONS = ("imagecorruptions-imaug", "imagecorruptions")


def check_corruptions(names: Sequence[str]) -> tuple[str, ...]:
    """The unique names in the order of `CORRUPTIONS`; a group's name expands to its members.

    Raises:
        RobustnessError: a name is unknown, or there are none.
    """
    wanted: set[str] = set()
    for name in names:
        if name not in CORRUPTIONS and name not in GROUPS:
            raise RobustnessError(
                f"there is no corruption {name!r}: known are {', '.join(CORRUPTIONS)}, and the groups "
                f"{', '.join(GROUPS)}"
            )
        wanted.update(GROUPS.get(name, (name,)))
    if not wanted:
        raise RobustnessError(f"no corruption is named: give some of {', '.join(CORRUPTIONS)}")
    return tuple(name for name in CORRUPTIONS if name in wanted)


def check_severities(severities: Sequence[int]) -> tuple[int, ...]:
    """The unique severities in ascending order. RobustnessError if one is not in 1..5, or there are none."""
    for severity in severities:
        if severity not in SEVERITIES:
            raise RobustnessError(f"severity {severity} does not exist: ImageNet-C has 1 to {SEVERITIES[-1]}")
    if not severities:
        raise RobustnessError(f"no severity is named: give some of 1 to {SEVERITIES[-1]}")
    return tuple(sorted(set(severities)))


def corrupt(image_bgr: Image, name: str, severity: int, *, key: str, seed: int = 0) -> Image:
    """A corrupted copy of an image.

    Args:
        image_bgr: uint8 [H, W, 3], both sides at least 32 px.
        name: one of `CORRUPTIONS`.
        severity: 1 to 5.
        key: name of the image. Same key, name, severity and seed give the same pixels.
        seed: of the whole test.

    Returns:
        uint8 [H, W, 3] BGR. Not thread-safe: the library uses numpy's global generator, whose state is restored.

    Raises:
        RobustnessError: the library is missing, the image is too small, or the name or severity is invalid.
    """
    (name,), (severity,) = check_corruptions([name]), check_severities([severity])
    if min(image_bgr.shape[:2]) < LEAST_SIDE:
        height, width = image_bgr.shape[:2]
        raise RobustnessError(f"{key} is {width}x{height} px; the corruptions need at least {LEAST_SIDE} px a side")
    library = load_library()
    number = _seed(seed, key, name, severity)
    own = {"seed": number} if name in _TAKE_SEED else {}
    before = np.random.get_state()  # noqa: NPY002  # the library draws from this one
    try:
        np.random.seed(number)  # noqa: NPY002
        # It prints on standard output, used for results, if its zoom is a pixel short.
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            corrupted = library.corrupt(
                np.ascontiguousarray(image_bgr[..., ::-1]), corruption_name=name, severity=severity, **own
            )
    finally:
        np.random.set_state(before)  # noqa: NPY002
    return np.ascontiguousarray(corrupted[..., ::-1])


def load_library() -> Any:
    """The module `imagecorruptions`. RobustnessError if it or a dependency is missing."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import imagecorruptions
    except ImportError as error:
        raise RobustnessError(
            f"the corruptions need {error.name or 'imagecorruptions'}, which is not installed:\n"
            f"  {install_line('robustness')}\n"
            "  pip install --no-deps imagecorruptions-imaug"
        ) from error
    return imagecorruptions


def library_version() -> str:
    """Name and version of the library."""
    for name in _DISTRIBUTIONS:
        try:
            return f"{name} {version(name)}"
        except PackageNotFoundError:
            continue
    return "imagecorruptions of unknown version"


def _seed(seed: int, key: str, name: str, severity: int) -> int:
    """A 32-bit seed that, unlike `hash`, does not depend on the process."""
    digest = hashlib.sha256(hashable(f"{seed}\0{key}\0{name}\0{severity}")).digest()
    return int.from_bytes(digest[:4], "little")
