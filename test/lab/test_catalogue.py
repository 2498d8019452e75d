"""The list of models, and the counts of a file's graph against the network's."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra 'train')")
pytest.importorskip("onnx", reason="onnx is not installed (extra 'train')")

from rich.console import Console  # noqa: E402

from gaussian_yolo_node.detector import model as model_files  # noqa: E402
from gaussian_yolo_node.errors import ModelError, SettingError  # noqa: E402
from gaussian_yolo_node.lab.catalogue import catalogue, classifiers, print_catalogue  # noqa: E402
from gaussian_yolo_node.lab.complexity import Complexity, complexity, onnx_complexity  # noqa: E402
from gaussian_yolo_node.lab.export.built_in import export_built_in  # noqa: E402
from gaussian_yolo_node.lab.export.onnx import ExportOptions  # noqa: E402
from gaussian_yolo_node.lab.networks.factory import BUILT_INS  # noqa: E402
from gaussian_yolo_node.runtime import RuntimeOptions  # noqa: E402


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MobileNet V2's detector for 64x96 px."""
    path = tmp_path_factory.mktemp("exported") / "model.onnx"
    export_built_in("mobilenet_v2", path, (64, 96))
    return path


@pytest.fixture
def shelf(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in place of the shipped models, with one model, `tiny`."""
    folder = tmp_path / "share" / "gaussian_yolo" / "engines"
    folder.mkdir(parents=True)
    shutil.copy(exported, folder / "tiny.onnx")
    monkeypatch.setattr(model_files, "engine_folders", lambda: [folder])
    return folder


def assert_counts_as_its_network(path: Path, name: str) -> None:
    with torch.device("meta"):
        network = complexity(BUILT_INS[name].network(), (64, 96))
    file = onnx_complexity(path)
    assert file.macs == network.macs
    # A batch norm's two values become one bias when folded, and four otherwise.
    assert file.parameters == pytest.approx(network.parameters, rel=0.02)


@pytest.mark.parametrize("name", ["mixnet_s", pytest.param("efficientnet_lite0", marks=pytest.mark.slow)])
def test_a_file_counts_as_its_network_does(tmp_path: Path, name: str) -> None:
    export_built_in(name, tmp_path / "model.onnx", (64, 96), ExportOptions(merge_up_to=0))
    assert_counts_as_its_network(tmp_path / "model.onnx", name)


def test_an_open_batch_counts_one_image(tmp_path: Path) -> None:
    export_built_in("mobilenet_v2", tmp_path / "model.onnx", (64, 96), ExportOptions(None))
    assert_counts_as_its_network(tmp_path / "model.onnx", "mobilenet_v2")


def test_all_built_in_detectors_are_listed_after_what_is_shipped(shelf: Path) -> None:
    entries = catalogue()
    assert [entry.name for entry in entries] == ["tiny", *BUILT_INS]
    assert (entries[0].input_size, entries[0].path) == ((64, 96), shelf / "tiny.onnx")
    official = entries[1]
    assert round(official.cost.macs / 1e9, 1) == 49.5


def test_classifiers_are_listed_at_their_papers_resolution() -> None:
    listed = {entry.name: entry for entry in classifiers()}
    for name, side, millions in (
        ("efficientnet_b0", 224, 5.29),
        ("efficientnet_l2", 800, 480.3),
        ("mixnet_s", 224, 4.13),
    ):
        assert listed[name].input_size == (side, side)
        assert listed[name].cost.parameters / 1e6 == pytest.approx(millions, abs=0.06)


@pytest.mark.usefixtures("shelf")
def test_the_table_has_every_figure_and_says_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    for runtime in ("onnxruntime", "openvino"):
        pytest.importorskip(runtime, reason=f"{runtime} is not installed (extra 'cpu')")
    monkeypatch.setattr("gaussian_yolo_node.lab.catalogue.LEAST_SECONDS", 0.0)
    console = Console(record=True, width=100, quiet=False)
    print_catalogue(catalogue(["tiny"]), console, RuntimeOptions(threads=1))
    text = console.export_text()
    row = next(line for line in text.splitlines() if "tiny" in line)
    assert "64x96" in row and "shipped" in row
    assert all(float(cell) > 0 for cell in row.replace("│", " ").split()[3:])
    assert len(row.replace("│", " ").split()) == 7
    assert "onnxruntime: ONNX Runtime" in text and "openvino: OpenVINO" in text


def test_padding_that_the_graph_computes_is_counted_through(tmp_path: Path) -> None:
    import onnx
    from onnx import helper

    # A 3x3 convolution of an image padded to twice its height, which the graph computes from the shape.
    weights = helper.make_tensor("weights", onnx.TensorProto.FLOAT, (4, 3, 3, 3), [0.5] * 108)
    grid = [helper.make_tensor(name, onnx.TensorProto.INT64, (len(v),), v) for name, v in (("at", [2]), ("zero", [0]))]
    nodes = [
        helper.make_node("Shape", ["image"], ["shape"]),
        helper.make_node("Gather", ["shape", "at"], ["height"]),
        helper.make_node("Concat", ["zero"] * 2 + ["height"] + ["zero"] * 5, ["pads"], axis=0),
        helper.make_node("Pad", ["image", "pads"], ["padded"]),
        helper.make_node("Conv", ["padded", "weights"], ["features"]),
    ]
    image = helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, (1, 3, 8, 10))
    features = helper.make_tensor_value_info("features", onnx.TensorProto.FLOAT, (1, 4, "rows", 8))
    graph = helper.make_graph(nodes, "padded", [image], [features], [weights, *grid])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), str(tmp_path / "padded.onnx"))
    assert onnx_complexity(tmp_path / "padded.onnx") == Complexity(108, 14 * 8 * 108)

    image.type.tensor_type.shape.dim[2].dim_param = "height"
    graph = helper.make_graph(nodes, "padded", [image], [features], [weights, *grid])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), str(tmp_path / "open.onnx"))
    with pytest.raises(ModelError, match=r"open.onnx leaves the size of features open"):
        onnx_complexity(tmp_path / "open.onnx")


def test_unknown_and_damaged_models_are_named(shelf: Path) -> None:
    with pytest.raises(SettingError, match=r"no model 'resnet'.*mixnet_s"):
        catalogue(["mixnet_s", "resnet"])
    (shelf / "torn.onnx").write_bytes(b"\x08\x07torn")
    with pytest.raises(ModelError, match=r"torn.onnx cannot be read"):
        catalogue(["torn"])
