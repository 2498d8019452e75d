from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from commands.conftest import Run
from factories import make_image

from gaussian_yolo_node.commands.benchmark_run import MOST_IN_MEMORY, STAGES, make_frames, read_frames
from gaussian_yolo_node.errors import SettingError
from gaussian_yolo_node.frames import open_source
from gaussian_yolo_node.runtime import CPU_RUNTIMES


@pytest.mark.parametrize("runtime", CPU_RUNTIMES)
def test_measures_every_stage(run: Run, tmp_path: Path, tiny_model: Path, runtime: str) -> None:
    pytest.importorskip(runtime, reason=f"{runtime} not installed")
    result = run(
        "benchmark", tiny_model, "--runtime", runtime, "--frames", 5, "--size", "48x160", "--json", tmp_path / "o.json"
    )

    assert result.code == 0, result.err
    assert "tiny (" in result.out and "5 frames after 20" in result.out
    figures = json.loads((tmp_path / "o.json").read_text())
    assert list(figures["latency_ms"]) == list(STAGES)
    for latency in figures["latency_ms"].values():
        assert 0 < latency["median"] <= latency["p90"] <= latency["p99"] <= latency["max"]
    assert (figures["frame_size"], figures["input_size"], figures["frames"]) == ([48, 160], [64, 96], 5)
    assert figures["detections"] == 2
    assert figures["device_memory_mib"] is None
    assert figures["fps"] > 0 and figures["peak_memory_mib"] > 0


def test_takes_the_frames_of_a_source_again_and_again(run: Run, tmp_path: Path, tiny_model: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), make_image(32, 48))
    cv2.imwrite(str(tmp_path / "b.png"), make_image(40, 48))

    result = run("benchmark", tiny_model, "--frames", 3, "--source", tmp_path)

    assert result.code == 0, result.err
    assert "frames of 32x48 px" in result.out


@pytest.mark.parametrize("count", [1, 3, 1000])
def test_reads_no_more_frames_than_are_wanted_or_fit(tmp_path: Path, count: int) -> None:
    for index in range(MOST_IN_MEMORY + 2):
        cv2.imwrite(str(tmp_path / f"{index:03d}.png"), make_image(8, 8, index))
    source = open_source(str(tmp_path))
    assert len(read_frames(source, count)) == min(count, MOST_IN_MEMORY)
    source.close()


def test_a_source_without_a_readable_frame_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    source = open_source(str(tmp_path))
    with pytest.raises(SettingError, match="no frame that can be read"):
        read_frames(source, 3)
    source.close()


def test_noise_is_the_same_every_time() -> None:
    first, second = make_frames((6, 7)), make_frames((6, 7))
    assert first[0].shape == (6, 7, 3)
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--frames", "0"), "--frames"),
        (("--size", "0"), "--size is '0'"),
        (("--source", "/nonexistent"), "nonexistent"),
        (("--runtime", "abacus"), "auto, openvino, onnxruntime, tensorrt"),
        (("--json", "/dev/null/out.json", "--frames", "1"), "/dev/null/out.json cannot be written"),
    ],
)
def test_bad_input_is_one_line(run: Run, tiny_model: Path, arguments: tuple[str, ...], message: str) -> None:
    result = run("benchmark", tiny_model, *arguments)

    assert result.code == 2
    assert message in result.err


def test_doctor_prints_json(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from gaussian_yolo_node.commands import doctor_run

    monkeypatch.setattr(doctor_run, "_PROBES", dict.fromkeys(doctor_run._PROBES, "print('1')"))
    monkeypatch.setattr(doctor_run, "_RATE_PROBE", "print('a canvas')")
    result = run("doctor", "--json")
    assert result.code == 0
    assert json.loads(result.out)["runtimes"].keys() == {"openvino", "onnxruntime", "tensorrt"}
    assert run("doctor").code == 0
