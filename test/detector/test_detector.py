from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_models import make_network
from factories import PLANTED, Planted, make_card, make_heads, make_image, make_model

from gaussian_yolo_node.detector import Detections, Detector
from gaussian_yolo_node.detector.canvas import Roi
from gaussian_yolo_node.detector.decode import NonFiniteOutputError
from gaussian_yolo_node.detector.letterbox import FrameError, Letterbox
from gaussian_yolo_node.errors import GaussianYoloError, ModelError, SettingError
from gaussian_yolo_node.runtime import CPU_RUNTIMES, RuntimeOptions

FP32 = RuntimeOptions(threads=1, precision="fp32")


@pytest.fixture(autouse=True, params=CPU_RUNTIMES)
def runtime(request: pytest.FixtureRequest) -> str:
    """Run every test of this file with each installed runtime."""
    pytest.importorskip(request.param, reason=f"{request.param} not installed")
    return str(request.param)


def test_finds_the_planted_boxes_in_frame_pixels(tiny_model: Path, runtime: str) -> None:
    frame = make_image(128, 160)
    letterbox = Letterbox.fit((128, 160), (64, 96))
    with Detector.open(tiny_model, runtime, options=FP32) as detector:
        found = detector(frame)

    expected = letterbox.boxes_to_frame(np.array([planted.box for planted in PLANTED], np.float32))
    np.testing.assert_allclose(found.boxes, expected, atol=0.02)
    np.testing.assert_allclose(found.scores, [planted.score for planted in PLANTED], atol=1e-4)
    np.testing.assert_array_equal(found.class_ids, [0, 1])
    np.testing.assert_allclose(found.sigmas[0], [3.2, 3.2, 4.8, 3.0], rtol=1e-3)  # 2 frame px per canvas px


def test_frames_may_change_size(tiny_model: Path, runtime: str) -> None:
    with Detector.open(tiny_model, runtime, options=FP32) as detector:
        small, large = detector(make_image(64, 96)), detector(make_image(640, 960))
        again = detector(make_image(64, 96))

    np.testing.assert_allclose(large.boxes, small.boxes * 10, rtol=1e-3)
    np.testing.assert_array_equal(again.boxes, small.boxes)


def test_a_result_is_not_changed_by_the_next_frame(tmp_path: Path, runtime: str) -> None:
    with Detector.open(make_model(tmp_path / "tiny.onnx"), runtime) as detector:
        first = detector(make_image(64, 96, seed=1))
        boxes, sigmas = first.boxes.copy(), first.sigmas.copy()
        detector(np.full((64, 96, 3), 255, np.uint8))

    np.testing.assert_array_equal(first.boxes, boxes)
    np.testing.assert_array_equal(first.sigmas, sigmas)


def test_the_defaults_are_the_cards(tmp_path: Path, runtime: str) -> None:
    model = make_model(
        tmp_path / "tiny.onnx",
        card_overrides={"score_threshold": 0.7, "iou_threshold": 0.6, "variance_vote": True},
    )
    with Detector.open(model, runtime) as detector:
        assert (detector.score_threshold, detector.iou_threshold, detector.variance_vote) == (0.7, 0.6, True)
        assert len(detector(make_image())) == 1


def test_thresholds_change_between_frames(tiny_model: Path, runtime: str) -> None:
    with Detector.open(tiny_model, runtime, score_threshold=0.9, iou_threshold=0.5, variance_vote=True) as detector:
        counts = []
        for detector.score_threshold in (0.9, 0.7, 0.3):
            counts.append(len(detector(make_image())))

    assert counts == [0, 1, 2]


def test_the_criterion_decides_what_passes_and_what_suppresses(tmp_path: Path, runtime: str) -> None:
    # On different heads, so both are detected. By confidence, the second is better: 0.72 against 0.667.
    pair = [Planted((10, 12, 34, 27), score=0.6, sigma=0.1), Planted((11, 12, 51, 36), score=0.36, sigma=0.5)]
    model = make_model(tmp_path / "tiny.onnx", planted=pair)
    with Detector.open(model, runtime, options=FP32, iou_threshold=0.3) as detector:
        assert detector.criterion == "gaussian"
        found = [detector(make_image(64, 96))]
        detector.criterion = "confidence"
        found.append(detector(make_image(64, 96)))
    with Detector.open(model, runtime, options=FP32, criterion="confidence", score_threshold=0.65) as detector:
        detector.iou_threshold = 0.9
        both = detector(make_image(64, 96))

    np.testing.assert_allclose(found[0].scores, [0.6], rtol=1e-3)
    np.testing.assert_allclose(found[1].scores, [0.72], rtol=1e-3)
    np.testing.assert_allclose(found[1].boxes, [pair[1].box], atol=0.05)
    np.testing.assert_allclose(both.scores, [0.72, 0.6667], rtol=1e-3)


def test_refuses_a_criterion_that_there_is_not(tiny_model: Path, runtime: str) -> None:
    with pytest.raises(SettingError, match="criterion is 'luck'; it must be gaussian or confidence"):
        Detector.open(tiny_model, runtime, criterion="luck")  # type: ignore[arg-type]


def test_suppressed_boxes_vote(tmp_path: Path, runtime: str) -> None:
    # The second is on another head, so both are detected.
    pair = [Planted((10, 12, 34, 27), score=0.8), Planted((12, 12, 52, 36), score=0.5)]
    model = make_model(tmp_path / "tiny.onnx", planted=pair)

    def widths(detector: Detector) -> Detections:
        return detector(make_image(64, 96))

    with Detector.open(model, runtime, options=FP32, iou_threshold=0.3) as detector:
        plain = widths(detector)
        detector.variance_vote = True
        voted = widths(detector)

    assert len(plain) == len(voted) == 1
    assert (voted.sigmas < plain.sigmas).all()
    assert voted.boxes[0, 2] > plain.boxes[0, 2]


def test_tells_what_it_runs(tiny_model: Path, runtime: str) -> None:
    with Detector.open(tiny_model, runtime, options=FP32) as detector:
        detector(make_image())

        assert detector.runtime.name == runtime
        assert "fp32, 1 thread" in detector.runtime.description
        assert detector.model_path == tiny_model
        assert len(detector.model_hash) == 12
        times = detector.last_timing
        assert min(times.preprocess_s, times.inference_s, times.postprocess_s) > 0


@pytest.mark.parametrize("value", [-0.1, 1.0, 2.0, float("nan")])
@pytest.mark.parametrize("name", ["score_threshold", "iou_threshold"])
def test_refuses_a_threshold_out_of_range(tiny_model: Path, runtime: str, name: str, value: float) -> None:
    with pytest.raises(SettingError, match=name):
        Detector.open(tiny_model, runtime, **{name: value})  # type: ignore[arg-type]
    with Detector.open(tiny_model, runtime) as detector:
        with pytest.raises(SettingError, match=name):
            setattr(detector, name, value)
        assert 0 < getattr(detector, name) < 1


@pytest.mark.parametrize("frame", [np.zeros((48, 160), np.uint8), np.zeros((0, 0, 3), np.uint8), None])
def test_refuses_what_is_no_frame_and_goes_on(tiny_model: Path, runtime: str, frame: Any) -> None:
    with Detector.open(tiny_model, runtime) as detector:
        with pytest.raises(FrameError):
            detector(frame)
        assert len(detector(make_image())) == 2


def test_a_network_that_gives_nan_is_told(tmp_path: Path, runtime: str) -> None:
    with (
        Detector.open(make_model(tmp_path / "nan.onnx", nan=True), runtime) as detector,
        pytest.raises(NonFiniteOutputError, match="stride 16"),
    ):
        detector(make_image())


@pytest.mark.parametrize("description", ["OpenVINO CPU fp32, 1 thread", "OpenVINO CPU bf16, 1 thread", "OpenVINO GPU"])
def test_fp32_is_advised_unless_it_is_used(
    tmp_path: Path, runtime: str, monkeypatch: pytest.MonkeyPatch, description: str
) -> None:
    with Detector.open(make_model(tmp_path / "nan.onnx", nan=True), runtime) as detector:
        monkeypatch.setattr(detector.runtime, "description", description)
        with pytest.raises(NonFiniteOutputError) as error:
            detector(make_image())
    assert ("precision fp32" in str(error.value)) == ("fp32" not in description)


def test_nan_on_one_frame_does_not_spoil_the_next(tmp_path: Path, runtime: str) -> None:
    with Detector.open(make_model(tmp_path / "nan.onnx", nan_when_black=True), runtime) as detector:
        assert len(detector(make_image(64, 96))) == 2
        with pytest.raises(NonFiniteOutputError, match="stride 8"):
            detector(np.zeros((64, 96, 3), np.uint8))
        assert len(detector(make_image(64, 96))) == 2


def _truncated(path: Path, share: float) -> Path:
    model = make_model(path)
    model.write_bytes(model.read_bytes()[: int(model.stat().st_size * share)])
    return model


def _other(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: path, "no model"),  # missing
        (lambda path: path.parent, "no model"),  # a folder
        (lambda path: _other(path, b""), "empty"),
        (lambda path: _other(path, b"not a model at all\n" * 40), "cannot be read as an ONNX model"),
        (lambda path: _other(path, b"\x89PNG\r\n\x1a\n" + bytes(200)), "cannot be read as an ONNX model"),
        (lambda path: _truncated(path, 0.95), "cannot be read as an ONNX model"),
        (lambda path: _truncated(path, 0.5), "cannot be read as an ONNX model"),
        (lambda path: _truncated(path, 0.02), "cannot be read as an ONNX model"),
        (lambda path: make_model(path, with_card=False), "no gaussian_yolo.card metadata"),
        (lambda path: make_model(path, card_overrides={"anchors": None}), "anchors is missing; it must be a list"),
        (lambda path: make_model(path, card_overrides={"classes": ["car"]}), "head_32 of .*36.*need .*30"),
        (lambda path: make_model(path, card_overrides={"anchors": [[[9, 9]]] * 3}), "head_32 of .*1 anchors"),
        (lambda path: make_model(path, card_overrides={"input_size": [96, 64]}), "input_size"),
        (lambda path: make_model(path, card_overrides={"strides": [64, 16, 8], "input_size": [64, 128]}), "px"),
        (
            lambda path: make_model(path, heads=make_heads(make_card())[:2]),
            "heads of strides .*32, 16.*card has strides .*32, 16, 8",
        ),
        (lambda path: make_model(path, heads=make_heads(make_card((32, 96)), [])), "rows"),  # a head too small
    ],
)
def test_a_bad_model_is_one_sentence_with_its_file(tmp_path: Path, runtime: str, make: Any, says: str) -> None:
    path = make(tmp_path / "bad.onnx")

    with pytest.raises(ModelError, match=says) as caught:
        Detector.open(path, runtime)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    assert len(message) < 500
    assert isinstance(caught.value, GaussianYoloError)


class TestCanvas:
    """The canvas of a model with free height and width; the default model is one."""

    @pytest.mark.parametrize(
        ("frame", "canvas"),
        [
            ((375, 1242), (384, 1248)),
            # `test_canvas.py` has the same frames and canvases.
            pytest.param((360, 640), (512, 928), marks=pytest.mark.slow),
            pytest.param((480, 640), (576, 768), marks=pytest.mark.slow),
            pytest.param((640, 360), (928, 512), marks=pytest.mark.slow),
        ],
    )
    def test_takes_the_shape_of_the_first_frame(
        self, runtime: str, frame: tuple[int, int], canvas: tuple[int, int]
    ) -> None:
        with Detector.open(runtime=runtime, options=FP32) as detector:
            detector(make_image(*frame))
            assert detector.input_size == canvas
            detector(make_image(100, 100))
            assert detector.input_size == canvas

    def test_one_chosen_by_hand_stays(self, runtime: str) -> None:
        options = RuntimeOptions(threads=1, precision="fp32", input_size=(192, 640))
        with Detector.open(runtime=runtime, options=options) as detector:
            detector(make_image(360, 640))
            assert detector.input_size == (192, 640)
            detector.use_canvas((256, 448))
            detector(make_image(100, 100))
            assert detector.input_size == (256, 448)
            detector.use_canvas(None)
            detector(make_image(90, 160))
            assert detector.input_size == (256, 448) != (192, 640)

    def test_of_a_model_with_a_fixed_size_stays(self, tiny_model: Path, runtime: str) -> None:
        with Detector.open(tiny_model, runtime, options=FP32) as detector:
            detector(make_image(100, 100))
            assert detector.input_size == (64, 96)
            with pytest.raises(ModelError, match="64x96"):
                detector.use_canvas((96, 96))

    def test_sigmas_are_corrected_for_the_canvas(self, runtime: str) -> None:
        with Detector.open(runtime=runtime, options=FP32) as detector:
            for point in detector.card.operating_points[:2]:
                detector.operate_like(point.input_size)
                assert detector.sigma_calibration == point.sigma_calibration
            detector.sigma_calibration = None
            detector.operate_like(detector.card.operating_points[0].input_size)
            assert detector.sigma_calibration is None


@pytest.mark.parametrize("frame", [(720, 1280), (1080, 1920), (375, 1242), (480, 640), (1280, 720)])
@pytest.mark.parametrize("roi", [Roi(), Roi(0.1, 0.25, 0.8, 0.9)])
def test_boxes_are_those_of_a_slow_reference(tiny_model: Path, runtime: str, frame: tuple[int, int], roi: Roi) -> None:
    """Planted boxes on the canvas, mapped to the frame by exact arithmetic."""
    height, width = frame
    left, top, right, bottom = roi.left * width, roi.top * height, roi.right * width, roi.bottom * height
    scale = min(64 / (bottom - top), 96 / (right - left))
    border_x, border_y = (96 - scale * (right - left)) / 2, (64 - scale * (bottom - top)) / 2
    with Detector.open(tiny_model, runtime, options=FP32, roi=roi) as detector:
        found = detector(make_image(height, width))
    assert len(found) == len(PLANTED)
    for box, planted in zip(found.boxes, PLANTED, strict=True):
        x1, y1, x2, y2 = planted.box
        expected = np.array([x1 - border_x, y1 - border_y, x2 - border_x, y2 - border_y]) / scale
        expected = np.clip(expected + np.array([left, top] * 2), [left, top] * 2, [right, bottom] * 2)
        # The scaled frame has whole canvas px, of which one is 1 / scale frame px.
        np.testing.assert_allclose(box, expected, atol=max(1.0, 1 / scale))


def test_a_region_finds_what_the_cut_frame_has(tmp_path: Path, runtime: str) -> None:
    model = make_network(tmp_path / "free.onnx", input_size=("height", "width"), card={"score_threshold": 0.05})
    frame = make_image(360, 640)
    roi = Roi(0.25, 0.75, 1.0, 1.0)  # on a canvas of another shape than the card's
    with Detector.open(model, runtime, options=FP32) as whole:
        alone = whole(np.ascontiguousarray(frame[270:, 160:]))
    with Detector.open(model, runtime, options=FP32, roi=roi) as detector:
        found = detector(frame)
        size = detector.input_size
    assert size == whole.input_size != (64, 96) and len(alone) > 0
    np.testing.assert_array_equal(found.scores, alone.scores)
    np.testing.assert_allclose(found.boxes, alone.boxes + np.float32([160, 270, 160, 270]), atol=1e-3)
    np.testing.assert_array_equal(found.sigmas, alone.sigmas)
