"""The README matches the code: every parameter with its default, and every command."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from gaussian_yolo_node.commands.gaussian_yolo import app
from gaussian_yolo_node.frames.image_messages import ENCODINGS
from gaussian_yolo_node.ros.parameter_table import PARAMETERS

REPOSITORY = Path(__file__).resolve().parents[1]
ENGINES = REPOSITORY / "engines"
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")


def test_the_parameter_table_is_the_nodes() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| `([^`]*)` \| (?:on activate|on configure|live|-) \|", README, re.MULTILINE))
    shown = {
        name: str(entry.default).lower() if isinstance(entry.default, bool) else str(entry.default) or '""'
        for name, entry in PARAMETERS.items()
    }
    assert rows == shown


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_encodings_of_raw_images_are_listed(encoding: str) -> None:
    (listed,) = re.findall(r"^Raw images may be .*?\n\n", README, re.MULTILINE | re.DOTALL)
    pattern = "bayer_rggb8" if encoding.startswith("bayer") else encoding
    assert f"`{re.sub('16$', '8', pattern)}`" in listed


def test_the_snippet_reads_a_message() -> None:
    pytest.importorskip("rclpy", reason="ROS 2 is not installed")
    from factories import make_detections
    from std_msgs.msg import Header

    from gaussian_yolo_node.ros.messages import detections_to_message

    (snippet,) = re.findall(r"```python\n(from gaussian_yolo_node\.ros.*?)```", README, re.DOTALL)
    boxes = [[0, 0, 40, 30], [50, 10, 90, 60]]
    detections = make_detections(boxes, scores=[0.4, 0.8], sigmas=[[1, 2, 3, 4], [5, 6, 7, 8]])
    names = {"message": detections_to_message(detections, Header(), ("car", "pedestrian", "cyclist"))}
    exec(snippet, names)
    order = np.argsort(-detections.scores, kind="stable")
    np.testing.assert_allclose(names["sigmas"], detections.sigmas[order], rtol=1e-6)


def test_the_snippet_of_the_road_follows_and_places_objects(
    driving_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("scipy", reason="scipy is not installed (extra 'track')")
    pytest.importorskip("openvino", reason="openvino is not installed (extra 'cpu')")
    (snippet,) = re.findall(r"## On the road.*?```python\n(.*?)```", README, re.DOTALL)
    images = [cv2.imread(str(path)) for path in sorted((driving_dir / "kitti/drive_0011/image").iterdir())[:12]]
    video = cv2.VideoWriter(str(tmp_path / "drive.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10, (1242, 375))
    for image in images:
        assert image is not None
        video.write(image)
    video.release()
    monkeypatch.chdir(tmp_path)
    exec(snippet, {})
    printed = capsys.readouterr().out
    lines = re.findall(
        r"^(\d+): ([\d.]+) m ahead, ([-\d.]+) m left, ([-+\d.]+) m/s, ([-+\d.]+) m/s$", printed, re.MULTILINE
    )
    assert lines and all(0 < float(ahead) < 150 for _, ahead, *_ in lines)


def test_the_commands_are_there() -> None:
    named = set(re.findall(r"^gaussian-yolo ([\w-]+)", README, re.MULTILINE))
    listed = CliRunner().invoke(app, ["--help"]).output
    assert named and all(f" {name} " in listed for name in named)


@pytest.mark.parametrize("target", re.findall(r"\]\(((?!https?:)[^)#]+)\)", README))
def test_links_lead_somewhere(target: str) -> None:
    assert (REPOSITORY / target).exists()


@pytest.mark.parametrize("target", ["demo", "test"])
def test_make_targets(target: str) -> None:
    assert f"make {target}" in README
    assert re.search(rf"^{target}:", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)


def test_the_models_figures_are_those_of_their_pages() -> None:
    """test_shipped_model measures what cards and pages say; here the README must say the same."""
    header, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in README.split("## Models")[1].splitlines()
        if re.match(r"^\| (model \| canvas|`\w+`)", line)
    ]
    named = [(re.findall(r"\w+", row[0])[0], dict(zip(header, row, strict=True))) for row in rows]
    assert {name for name, _ in named} == {path.stem for path in ENGINES.glob("*.onnx")}
    for name, shown in named:
        page = (ENGINES / f"{name}.md").read_text(encoding="utf-8")
        if name.startswith("csp_nano"):  # a row for each operating point, as on the page
            (line,) = re.findall(rf"^\| {shown['canvas']} \| [\d.]+ \| (.*) \|$", page, re.MULTILINE)
            stated = dict(zip(("drive_0011", "object_extra", "Seq05VD"), line.split(" | "), strict=True))
            assert {key: shown[key] for key in stated} == stated
            continue
        table = [
            line.strip("|").split("|") for line in page.splitlines() if re.match(r"^\| (class|car|pedes|cycl)", line)
        ]
        columns = [cell.strip() for cell in table[0]]
        claims = {line[0].strip(): dict(zip(columns, line, strict=True)) for line in table[1:]}
        assert shown["canvas"].replace("x", ",") in page or shown["canvas"] in page
        truths = [
            claims["car"]["AP@0.5 OpenVINO bf16"],
            claims["car"]["AP@0.7 OpenVINO bf16"],
            claims["pedestrian"]["AP@0.5 OpenVINO bf16"],
            claims["cyclist"]["AP@0.5 OpenVINO bf16"],
        ]
        numbers = [float(number) for number in re.findall(r"[\d.]+", shown["drive_0011"])]
        assert numbers == pytest.approx([float(truth) for truth in truths], abs=0.051), name
