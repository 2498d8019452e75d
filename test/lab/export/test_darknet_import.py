"""Darknet's files through export and detector, against the official code's detections, and at their full size."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from command_line import Run
from darknet_factory import random_weights, small_cfg
from numpy.typing import NDArray

torch = pytest.importorskip("torch", reason="torch is not installed (extra 'train')")
pytest.importorskip("onnx", reason="onnx is not installed (extra 'train')")

from gaussian_yolo_node.detector.decode import decode  # noqa: E402
from gaussian_yolo_node.detector.detector import Detector  # noqa: E402
from gaussian_yolo_node.detector.letterbox import Letterbox  # noqa: E402
from gaussian_yolo_node.detector.nms import nms  # noqa: E402
from gaussian_yolo_node.errors import GaussianYoloError  # noqa: E402
from gaussian_yolo_node.lab.export.darknet_import import import_darknet  # noqa: E402
from gaussian_yolo_node.lab.networks.darknet import Darknet, DarknetDetector  # noqa: E402
from gaussian_yolo_node.lab.networks.darknet_cfg import Cfg, parse_cfg, write_cfg  # noqa: E402
from gaussian_yolo_node.lab.networks.darknet_files import Weights, write_weights  # noqa: E402
from gaussian_yolo_node.lab.networks.yolov3 import PRESETS, yolov3_cfg  # noqa: E402
from gaussian_yolo_node.runtime import RuntimeOptions  # noqa: E402

RUNTIMES = ["onnxruntime", "openvino"]
FP32 = RuntimeOptions(precision="fp32")
FULL_SIZE = 246_585_408  # bytes of the published BDD weights
EVERYTHING = 1_000_000


def torch_heads(cfg: Cfg, weights: Weights, canvas: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
    """Heads of the network without folding."""
    network = Darknet(cfg.layers)
    network.load_weights(weights)
    rgb = torch.from_numpy(canvas[..., ::-1].copy()).permute(2, 0, 1)[None].float()
    with torch.no_grad():
        return [head.numpy() for head in DarknetDetector(network).eval()(rgb)]


def runtime_heads(path: Path, runtime: str, canvas: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
    pytest.importorskip(runtime, reason=f"{runtime} is not installed (extra 'cpu')")
    with Detector.open(path, runtime, options=FP32) as detector:
        return [head.copy() for head in detector.runtime.infer(canvas)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small network's files."""
    write_cfg(parse_cfg(small_cfg(), "small.cfg"), tmp_path / "small.cfg")
    write_weights(tmp_path / "small.weights", random_weights(parse_cfg(small_cfg(), "small.cfg")))
    return tmp_path


@pytest.fixture(scope="module")
def official(golden_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The official network as a model file."""
    golden, path = golden_dir / "darknet_tiny", tmp_path_factory.mktemp("official") / "tiny.onnx"
    import_darknet(golden / "tiny.cfg", golden / "tiny.weights", path)
    return path


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_official_image_gives_the_official_detections(golden_dir: Path, official: Path, runtime: str) -> None:
    """From image to detections: the same boxes of the same classes remain after decoding and suppression.

    The canvas has 8 bits, so the input differs from the official float input by up to 0.5/255 (its golden tolerance is
    2e-3). The golden tolerances of heads (1e-4), boxes (2e-3 px) and scores (1e-5) assume equal input. The rounding
    causes errors of 1.2e-3 in the heads, 2e-4 in scores, and a thousandth of a box's size.
    """
    pytest.importorskip(runtime, reason=f"{runtime} is not installed (extra 'cpu')")
    golden = golden_dir / "darknet_tiny"
    stored = np.load(golden / "expected.npz")
    image = cv2.imread(str(golden / "image.png"))

    with Detector.open(official, runtime, options=FP32) as detector:
        card = detector.card
        letterbox = Letterbox.fit(image.shape[:2], card.input_size, card.resize)
        canvas = letterbox.to_canvas(image)
        heads = [head.copy() for head in detector.runtime.infer(canvas)]
        raw = decode(heads, card.anchor_sizes, card.strides, 0.02, EVERYTHING)

    np.testing.assert_allclose(canvas[..., ::-1].transpose(2, 0, 1) / 255, stored["input"], rtol=0, atol=2e-3)
    for index, head in enumerate(heads):
        expected = stored[f"head{index}"]
        ours = head.reshape(expected.shape)
        logistic = [entry for entry in range(ours.shape[1]) if entry not in (4, 6)]
        ours[:, logistic] = 1 / (1 + np.exp(-ours[:, logistic]))
        np.testing.assert_allclose(ours, expected, rtol=0, atol=2e-3)
    columns = [str(name) for name in stored["columns"]]
    for found, rows in (
        (raw, stored["detections_raw"]),
        (nms(raw, 0.45, EVERYTHING), stored["detections_nms"]),
    ):
        by_name = dict(zip(columns, rows.T, strict=True))
        probabilities = np.stack([by_name[f"prob{index}"] for index in range(3)], axis=1)
        at, class_ids = np.nonzero(probabilities)
        theirs = np.stack([by_name[name] for name in "xywh"], axis=1)[at]
        corners = letterbox.boxes_to_frame(found.boxes)
        ours = np.concatenate([(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]], axis=1)
        assert len(found) == len(at)
        size = np.maximum(10, theirs[:, 2:].max(axis=1))
        apart = np.abs(ours[:, np.newaxis] - theirs).max(axis=2) / size
        apart[found.class_ids[:, np.newaxis] != class_ids] = np.inf
        partner = apart.argmin(axis=1)
        assert len(np.unique(partner)) == len(at), "not one to one"
        assert apart.min(axis=1).max() < 2e-3
        np.testing.assert_allclose(found.scores, probabilities[at, class_ids][partner], rtol=0, atol=5e-4)


def test_the_card_says_what_the_heads_mean_and_where_they_are_from(folder: Path) -> None:
    (folder / "names.txt").write_text("car\n traffic light \n\n")

    card = import_darknet(
        folder / "small.cfg", folder / "small.weights", folder / "small.onnx", classes=folder / "names.txt"
    )

    with Detector.open(folder / "small.onnx") as detector:
        assert detector.card == card
    assert (card.name, card.classes) == ("small", ("car", "traffic light"))
    assert (card.strides, card.input_size) == ((32, 16), (64, 96))
    assert card.anchors == (((33.0, 23.0), (30.0, 61.0)), ((10.0, 13.0), (16.0, 30.0)))
    assert card.resize == "align_corners"
    assert "small.cfg (" in card.training["imported"] and "small.weights (" in card.training["imported"]
    assert card.training["images_seen"] == 32_013_312
    assert "sigma" not in card.training


@pytest.mark.parametrize("kind", ["Gaussian_yolo", "yolo"])
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("size", [None, (128, 64)])
def test_runtimes_give_the_networks_own_heads(
    tmp_path: Path, kind: str, runtime: str, size: tuple[int, int] | None
) -> None:
    cfg = parse_cfg(small_cfg(kind), "small.cfg", size)
    weights = random_weights(cfg)
    write_cfg(cfg, tmp_path / "small.cfg")
    write_weights(tmp_path / "small.weights", weights)
    card = import_darknet(tmp_path / "small.cfg", tmp_path / "small.weights", tmp_path / "small.onnx", size=size)
    canvas = np.random.default_rng(3).integers(0, 256, (*card.input_size, 3), dtype=np.uint8)

    heads = runtime_heads(tmp_path / "small.onnx", runtime, canvas)

    for ours, theirs in zip(heads, torch_heads(cfg, weights, canvas), strict=True):
        entries = ours.reshape(2, 11, -1)
        if kind == "yolo":
            assert (entries[:, 1:8:2] == -128).all()
            entries = entries[:, [0, 2, 4, 6, 8, 9, 10]]
        np.testing.assert_allclose(entries, theirs.reshape(2, entries.shape[1], -1), rtol=0, atol=1e-4)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_plain_network_detects_without_uncertainty(tmp_path: Path, runtime: str) -> None:
    pytest.importorskip(runtime, reason=f"{runtime} is not installed (extra 'cpu')")
    cfg = parse_cfg(small_cfg("yolo"), "small.cfg")
    write_cfg(cfg, tmp_path / "small.cfg")
    write_weights(tmp_path / "small.weights", random_weights(cfg))
    import_darknet(tmp_path / "small.cfg", tmp_path / "small.weights", tmp_path / "small.onnx")
    image = np.random.default_rng(3).integers(0, 256, (50, 100, 3), dtype=np.uint8)

    for vote in (False, True):
        with Detector.open(tmp_path / "small.onnx", runtime, score_threshold=0.1, variance_vote=vote) as detector:
            found = detector(image)

        assert detector.card.training["sigma"] == "none: plain YOLOv3"
        assert len(found) and (found.sigmas == 0).all()


@pytest.mark.parametrize(("preset", "classes"), [("bdd", 10), ("kitti", 3)])
def test_a_published_network_brings_its_class_names(tmp_path: Path, preset: str, classes: int) -> None:
    """Recognised by its anchors, if the number of classes matches."""
    from gaussian_yolo_node.lab.export.darknet_import import _known_names

    anchors = PRESETS[preset].anchors

    assert _known_names(parse_cfg(yolov3_cfg(classes, anchors), "x")) == PRESETS[preset].classes
    assert _known_names(parse_cfg(yolov3_cfg(2, anchors), "x")) == ("class_0", "class_1")
    assert _known_names(parse_cfg(yolov3_cfg(2, [(w + 1, h) for w, h in anchors]), "x")) == ("class_0", "class_1")


@pytest.fixture(scope="module")
def full_size(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Cfg, Weights]]:
    """Files like the published BDD files, with random weights; half a gigabyte during the tests."""
    folder = tmp_path_factory.mktemp("full")
    cfg = parse_cfg(yolov3_cfg(10, PRESETS["bdd"].anchors), "bdd.cfg", (96, 160))
    weights = random_weights(cfg, seed=53)
    write_cfg(cfg, folder / "bdd.cfg")
    write_weights(folder / "bdd.weights", weights)
    assert (folder / "bdd.weights").stat().st_size == FULL_SIZE
    card = import_darknet(folder / "bdd.cfg", folder / "bdd.weights", folder / "bdd.onnx", size=(96, 160))
    assert card.classes == PRESETS["bdd"].classes and card.strides == (32, 16, 8)
    yield folder / "bdd.onnx", cfg, weights
    for file in folder.iterdir():
        file.unlink()


@pytest.mark.slow  # half a gigabyte; the small networks above take the same way
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_weights_of_the_official_size_give_torchs_heads(full_size: tuple[Path, Cfg, Weights], runtime: str) -> None:
    path, cfg, weights = full_size
    canvas = np.random.default_rng(3).integers(0, 256, (96, 160, 3), dtype=np.uint8)

    heads = runtime_heads(path, runtime, canvas)

    for ours, theirs in zip(heads, torch_heads(cfg, weights, canvas), strict=True):
        assert np.isfinite(theirs).all() and theirs.std() > 0.1  # the signal passes 75 layers
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": "one\n"}, r"names 1 classes where .*small\.cfg, line 55, has classes=2"),
        ({"classes": "one\none\n"}, "names 'one' twice"),
        ({"classes": "one\ntwo\nthree\n"}, "names 3 classes"),
        ({"size": (64, 100)}, "width=100 is not a multiple of 32"),
        ({"cfg": small_cfg().replace("[upsample]", "[reorg]")}, r"line 64: unknown section \[reorg\]"),
        ({"cfg": small_cfg().replace("channels=3", "channels=1")}, "reads 1 channels"),
        ({"cfg": small_cfg().replace("filters=12", "filters=13")}, r"holds 19,492 bytes where .* needs .* layer 11"),
        ({"weights": b"no weights at all, but a text"}, "does not begin with a Darknet version"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_written(
    folder: Path, change: dict[str, object], message: str
) -> None:
    if "cfg" in change:
        (folder / "small.cfg").write_text(str(change["cfg"]))
    if isinstance(content := change.get("weights"), bytes):
        (folder / "small.weights").write_bytes(content)
    classes = folder / "names.txt" if "classes" in change else None
    if classes is not None:
        classes.write_text(str(change["classes"]))
    output = folder / str(change.get("output", "small.onnx"))
    size = change.get("size")

    with pytest.raises(GaussianYoloError, match=message):
        import_darknet(folder / "small.cfg", folder / "small.weights", output, classes=classes, size=size)  # type: ignore[arg-type]

    assert not output.exists()


def test_the_command_writes_a_model_that_detects(run: Run, folder: Path) -> None:
    (folder / "names.txt").write_text("car\nbus\n")

    result = run(
        "import-darknet",
        *(folder / "small.cfg", folder / "small.weights", "-o", folder / "small.onnx"),
        *("--classes", folder / "names.txt", "--size", "96x64", "--batch-norm", "cpu"),
    )

    assert result.code == 0, result.err
    assert "96x64 px, classes car, bus" in result.out
    with Detector.open(folder / "small.onnx") as detector:
        assert detector.card.input_size == (96, 64) and detector.card.training["batch_norm"] == "cpu"
        detector(np.zeros((40, 30, 3), np.uint8))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("small.cfg", "missing.weights"), "missing.weights cannot be read"),
        (("small.weights", "small.weights"), "small.weights, line 1"),
        (("small.cfg", "small.weights", "--size", "64"), "--size is '64'"),
        (("small.cfg", "small.weights", "--size", "64x100"), "not a multiple of 32"),
        (("small.cfg", "small.weights", "--classes", "no.txt"), "no.txt cannot be read"),
    ],
)
def test_the_command_names_what_is_wrong_in_a_line(
    run: Run, folder: Path, arguments: tuple[str, ...], message: str
) -> None:
    paths = [folder / word if "." in word else word for word in arguments]

    result = run("import-darknet", *paths, "-o", folder / "small.onnx")

    assert result.code == 2
    assert [line for line in result.err.splitlines() if line.startswith("error: ") and message in line]
    assert "Traceback" not in result.err
