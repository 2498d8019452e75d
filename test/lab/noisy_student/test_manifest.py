"""Steps in a folder: run once, resumed, and never mixed with other settings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gaussian_yolo_node.files import PlaceError, file_hash
from gaussian_yolo_node.lab.noisy_student.manifest import Manifest, ManifestError


class Work:
    """A step that writes `text` and counts its calls."""

    def __init__(self, folder: Path, text: str = "made", name: str = "out.txt") -> None:
        self.path, self.text, self.calls = folder / name, text, 0

    def __call__(self) -> tuple[list[Path], Mapping[str, Any]]:
        self.calls += 1
        self.path.write_text(self.text)
        return [self.path], {"lines": 1}


def test_a_step_is_done_once(tmp_path: Path) -> None:
    work = Work(tmp_path)
    first = Manifest(tmp_path).run("one", {"a": 1}, work)
    again = Manifest(tmp_path).run("one", {"a": 1}, work)
    assert work.calls == 1 and again == first
    assert first.outputs == {"out.txt": file_hash(work.path)} and first.counts == {"lines": 1}


@pytest.mark.parametrize("harm", ["remove", "change"])
def test_a_step_whose_result_is_lost_is_done_again(tmp_path: Path, harm: str) -> None:
    work = Work(tmp_path)
    Manifest(tmp_path).run("one", {"a": 1}, work)
    work.path.unlink() if harm == "remove" else work.path.write_text("spoilt")
    Manifest(tmp_path).run("one", {"a": 1}, work)
    assert work.calls == 2 and work.path.read_text() == "made"


def test_other_inputs_are_refused_and_nothing_is_lost(tmp_path: Path) -> None:
    work = Work(tmp_path)
    Manifest(tmp_path).run("one", {"a": 1, "b": 2}, work)
    with pytest.raises(ManifestError, match="step 'one' was made with another b; choose another output folder"):
        Manifest(tmp_path).run("one", {"a": 1, "b": 3}, Work(tmp_path, "other"))
    assert work.path.read_text() == "made"


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "link"])
def test_a_manifest_names_files_of_its_folder_only(tmp_path: Path, name: str) -> None:
    work = Work(tmp_path / "run")
    Manifest(tmp_path / "run").run("one", {"a": 1}, work)
    (tmp_path / "outside").write_text("made")
    (tmp_path / "run" / "link").symlink_to(tmp_path / "outside")
    manifest = tmp_path / "run" / "manifest.json"
    manifest.write_text(manifest.read_text().replace(f'"{work.path.name}"', f'"{name}"'))
    with pytest.raises(PlaceError, match=f"the name '{name}' is refused"):
        Manifest(tmp_path / "run").run("one", {"a": 1}, work)


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_step_is_called_again_with_the_same_inputs_only(tmp_path: Path, interruption: type) -> None:
    def broken() -> tuple[list[Path], Mapping[str, Any]]:
        raise interruption

    with pytest.raises(interruption):
        Manifest(tmp_path).run("one", {"a": 1}, broken)
    with pytest.raises(ManifestError, match="another a"):
        Manifest(tmp_path).run("one", {"a": 2}, Work(tmp_path))
    work = Work(tmp_path)
    Manifest(tmp_path).run("one", {"a": 1}, work)
    assert work.calls == 1


def test_inputs_are_compared_as_json(tmp_path: Path) -> None:
    work = Work(tmp_path)
    for _ in range(2):
        Manifest(tmp_path).run("one", {"pair": (1, 2), "deep": {"x": [3]}}, work)
    assert work.calls == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is damaged: remove the file"),
        ("[]", r"the document must be a mapping, not \[\]: remove the file"),
        ("{}", "format is missing"),
        ('{"format": 9, "steps": {}, "begun": {}}', "format must be 1, not 9"),
        ('{"format": 1, "steps": {"one": {}}, "begun": {}}', "steps.one.inputs is missing"),
        ('{"format": 1, "steps": [], "begun": {}}', "steps must be a mapping"),
    ],
)
def test_a_manifest_that_is_none(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(ManifestError, match=message):
        Manifest(tmp_path)


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ManifestError, match="cannot be used as output folder"):
        Manifest(tmp_path / "file" / "inner")


def test_the_file_tells_what_was_done(tmp_path: Path) -> None:
    Manifest(tmp_path).run("one", {"a": 1}, Work(tmp_path))
    document = json.loads((tmp_path / "manifest.json").read_text())
    assert document["begun"] == {} and list(document["steps"]) == ["one"]
    assert not list(tmp_path.glob(".*"))


def test_the_hash_of_no_file_is_none(tmp_path: Path) -> None:
    assert file_hash(tmp_path / "gone") == file_hash(tmp_path) == ""
