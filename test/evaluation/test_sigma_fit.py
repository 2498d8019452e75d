"""Fits of sigmas to errors with a known spread, and to heavier-tailed errors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gaussian_yolo_node.detector.sigma_correction import SigmaCalibration
from gaussian_yolo_node.evaluation.matching import MatchedBoxes
from gaussian_yolo_node.evaluation.sigma_fit import (
    LEAST_BOXES,
    MOST_OFFSET,
    CalibrationError,
    calibrated,
    cross_validated,
    fit_sigma_calibration,
    scaled_to_coverage,
)
from gaussian_yolo_node.evaluation.uncertainty import sigma_quality

TRUE = SigmaCalibration((0.5, 1.5, 0.8, 1.0), (0.02, 0.0, 0.05, 0.01))


def standard_normal(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    return rng.standard_normal((count, 4))


def laplace(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    return rng.laplace(size=(count, 4), scale=np.sqrt(0.5))


def cut_student(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Student's t with 4 degrees of freedom, cut so that boxes still overlap their objects; unit variance."""
    t = np.clip(rng.standard_t(4, (count, 4)), -6, 6)
    return t / np.sqrt((t**2).mean())


def simulate(count: int, noise=standard_normal, seed: int = 0, true: SigmaCalibration = TRUE) -> MatchedBoxes:  # type: ignore[no-untyped-def]
    """Boxes whose sigmas, corrected by `true`, are the spread of their errors."""
    rng = np.random.default_rng(seed)
    width, height = rng.lognormal(4, 0.7, count), rng.lognormal(3.5, 0.7, count)
    corner = rng.uniform(0, 500, (count, 2))
    boxes = np.concatenate([corner, corner + np.stack([width, height], axis=1)], axis=1)
    sizes = np.stack([width, height, width, height], axis=1)
    sigmas = sizes * rng.lognormal(-2.5, 0.6, (count, 4))
    errors = noise(rng, count) * true.apply(sigmas, boxes)
    centre, half = errors[:, :2], errors[:, 2:] / 2
    truths = boxes - np.concatenate([centre - half, centre + half], axis=1)
    return MatchedBoxes(boxes, truths, sigmas, np.array(["car"] * count), np.arange(count) // 3)


def figures(boxes: MatchedBoxes) -> tuple[list[float], NDArray[np.float64]]:
    """RMS z, and the shares within one and two sigma, by coordinate."""
    quality = sigma_quality(boxes)
    assert quality is not None
    rms = [of.rms for of in quality.coordinates.values() if of.rms is not None]
    return rms, np.array([of.within[:2] for of in quality.coordinates.values()])


def test_known_corrections_are_found() -> None:
    fit = fit_sigma_calibration(simulate(20000))

    assert fit.scale == pytest.approx(TRUE.scale, rel=0.05)
    assert fit.offset == pytest.approx(TRUE.offset, abs=0.004)


@pytest.mark.parametrize("noise", [standard_normal, laplace, cut_student])
@pytest.mark.parametrize("count", [LEAST_BOXES, 200])
def test_the_standardised_errors_have_unit_variance(noise, count: int) -> None:  # type: ignore[no-untyped-def]
    boxes = simulate(count, noise)

    rms, _ = figures(calibrated(boxes, fit_sigma_calibration(boxes)))

    assert rms == pytest.approx([1, 1, 1, 1], abs=1e-9)


@pytest.mark.parametrize("noise", [standard_normal, laplace, cut_student])
def test_coverage_of_unseen_boxes(noise) -> None:  # type: ignore[no-untyped-def]
    """About 68 % within one sigma (slightly more with heavy tails), and about 95 % within two."""
    fit = fit_sigma_calibration(simulate(1000, noise, seed=1))

    rms, within = figures(calibrated(simulate(20000, noise, seed=2), fit))

    assert rms == pytest.approx([1, 1, 1, 1], abs=0.1)
    assert ((within[:, 0] > 0.60) & (within[:, 0] < 0.78)).all()
    assert ((within[:, 1] > 0.90) & (within[:, 1] < 0.98)).all()


def test_the_fit_is_the_likeliest() -> None:
    boxes = simulate(500)
    fit = fit_sigma_calibration(boxes)

    def nll(scale: float, offset: float) -> float:
        changed = SigmaCalibration((fit.scale[0] * scale, *fit.scale[1:]), (fit.offset[0] * offset, *fit.offset[1:]))
        quality = sigma_quality(calibrated(boxes, changed))
        assert quality is not None and quality.coordinates["cx"].nll is not None
        return quality.coordinates["cx"].nll

    others = [nll(scale, offset) for scale in (0.9, 1, 1.1) for offset in (0.8, 1, 1.2)]
    assert nll(1, 1) == min(others)


@settings(deadline=None, max_examples=15)
@given(st.floats(0.01, 100), st.integers(0, 100))
def test_a_larger_picture_gives_the_same_fit(factor: float, seed: int) -> None:
    boxes = simulate(60, seed=seed)
    assert boxes.sigmas is not None
    larger = MatchedBoxes(
        boxes.boxes * factor, boxes.truths * factor, boxes.sigmas * factor, boxes.classes, boxes.frames
    )

    small, large = fit_sigma_calibration(boxes), fit_sigma_calibration(larger)

    assert large.scale == pytest.approx(small.scale, rel=1e-6)
    assert large.offset == pytest.approx(small.offset, rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("factor", [1.0, 0.25])
def test_sigmas_that_are_a_fixed_share_of_the_size_need_no_offset(factor: float) -> None:
    boxes = simulate(100)
    fixed = MatchedBoxes(boxes.boxes, boxes.truths, boxes.sizes * 0.1 * factor, boxes.classes, boxes.frames)

    fit = fit_sigma_calibration(fixed)

    assert fit.offset == (0, 0, 0, 0)
    assert figures(calibrated(fixed, fit))[0] == pytest.approx([1, 1, 1, 1])


def test_what_the_network_says_is_never_lost() -> None:
    """Sigmas that are pure noise: the size alone would be likelier."""
    boxes = simulate(2000, true=SigmaCalibration((1e-6,) * 4, (0.1,) * 4))
    assert boxes.sigmas is not None

    fit = fit_sigma_calibration(boxes)

    rms = np.sqrt((boxes.sigmas**2).mean(axis=0)) * fit.scale
    rms_offset = np.sqrt((boxes.sizes**2).mean(axis=0)) * fit.offset
    np.testing.assert_allclose(rms / (rms + rms_offset), 1 - MOST_OFFSET, atol=1e-3)


def test_cross_validation_never_fits_to_what_it_measures() -> None:
    """The second half has errors three times as large: its sigmas come from the first."""
    first, second = simulate(300, seed=1), simulate(300, seed=2)
    assert first.sigmas is not None and second.sigmas is not None
    both = MatchedBoxes(
        np.concatenate([first.boxes, second.boxes]),
        np.concatenate([first.truths, second.boxes - 3 * (second.boxes - second.truths)]),
        np.concatenate([first.sigmas, second.sigmas]),
        np.concatenate([first.classes, second.classes]),
        np.concatenate([first.frames, second.frames + 1000]),
    )

    unseen = cross_validated(both)

    assert unseen.frames.tolist() == both.frames.tolist()
    rms, _ = figures(unseen[unseen.frames < 1000])
    assert rms == pytest.approx([1 / 3] * 4, rel=0.2)
    rms, _ = figures(unseen[unseen.frames >= 1000])
    assert rms == pytest.approx([3] * 4, rel=0.2)


def test_a_frame_is_never_divided() -> None:
    boxes = simulate(100)
    crowded = MatchedBoxes(boxes.boxes, boxes.truths, boxes.sigmas, boxes.classes, np.array([0] * 40 + [1] * 60))

    unseen = cross_validated(crowded)

    fit = fit_sigma_calibration(crowded[crowded.frames == 1])
    np.testing.assert_allclose(unseen.sigmas[:40], calibrated(crowded[crowded.frames == 0], fit).sigmas)  # type: ignore[index]


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        (simulate(LEAST_BOXES - 1), "29 boxes lie on an object, and a fit of the sigmas needs 30"),
        (simulate(0), "0 boxes"),
        (MatchedBoxes(*(lambda b: (b.boxes, b.truths, b.sigmas * 0, b.classes, b.frames))(simulate(50))), "zero"),
        (MatchedBoxes(*(lambda b: (b.boxes, b.truths, None, b.classes, b.frames))(simulate(50))), "unknown"),
        (MatchedBoxes(*(lambda b: (b.boxes, b.boxes, b.sigmas, b.classes, b.frames))(simulate(50))), "off in cx"),
    ],
)
def test_what_allows_no_fit_is_said(boxes: MatchedBoxes, message: str) -> None:
    with pytest.raises(CalibrationError, match=message):
        fit_sigma_calibration(boxes)


def test_too_few_for_a_half() -> None:
    with pytest.raises(CalibrationError, match="boxes lie on an object"):
        cross_validated(simulate(LEAST_BOXES + 10))


@pytest.mark.parametrize("noise", [standard_normal, laplace, cut_student])
def test_a_fit_scaled_to_coverage_holds_as_many_errors_as_a_gaussian(noise) -> None:  # type: ignore[no-untyped-def]
    boxes = simulate(3000, noise)
    likeliest = fit_sigma_calibration(boxes)
    scaled = scaled_to_coverage(boxes, likeliest)
    _, within = figures(calibrated(boxes, scaled))
    np.testing.assert_allclose(within[:, 0], 0.683, atol=0.001)
    assert (within[:, 1] > 0.88).all()
    # Only the scale changes, so boxes keep their order.
    ratio = np.array(scaled.scale) / likeliest.scale
    np.testing.assert_allclose(scaled.offset, np.array(likeliest.offset) * ratio)
