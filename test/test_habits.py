"""What CHANGELOG, CONTRIBUTING, the hooks, the workflow and the papers' facts name is in the repository."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
VERSION = ElementTree.parse(REPOSITORY / "package.xml").getroot().findtext("version")
MAKEFILE = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z][\w-]*):", MAKEFILE, re.MULTILINE))
CONTRIBUTING = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
FACTS = (REPOSITORY / "docs" / "paper_facts.md").read_text(encoding="utf-8")
PATH = r"[\w.-]+(?:/[\w.-]*)+|[\w.-]+\.(?:md|py|rst|toml|xml|yaml)"
MADE = ("out/", ".venv/")  # not in the repository


def named_paths(text: str) -> list[str]:
    """Paths in backticks, in links and in indented or fenced commands; a name in capitals is the reader's choice."""
    blocks = "\n".join(re.findall(r"^ *```\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL))
    found = re.findall(rf"`({PATH})`|\]\(({PATH})\)", text)
    names = {name for pair in found for name in pair if name} | set(re.findall(rf"(?<!\S)({PATH})(?!\S)", blocks))
    return sorted(name for name in names if not name.startswith(MADE))


def load(name: str) -> Any:
    return yaml.safe_load((REPOSITORY / name).read_text(encoding="utf-8"))


def test_the_change_log_has_forthcoming_changes_above_the_released_version() -> None:
    text = (REPOSITORY / "CHANGELOG.rst").read_text(encoding="utf-8")
    title = "Changelog for package gaussian_yolo"
    assert text.startswith(f"{'^' * len(title)}\n{title}\n{'^' * len(title)}\n")
    sections = re.findall(r"^(.+)\n(-+)\n\* ", text, re.MULTILINE)
    assert [len(heading) for heading, _ in sections] == [len(underline) for _, underline in sections]
    assert sections[0][0] == "Forthcoming"
    assert re.fullmatch(rf"{VERSION} \(\d{{4}}-\d\d-\d\d\)", sections[1][0])


def test_ros_tools_read_the_change_log() -> None:
    changelog = pytest.importorskip("catkin_pkg.changelog", reason="catkin_pkg is not installed")
    versions = [
        version for version, _, _ in changelog.get_changelog_from_path(str(REPOSITORY)).foreach_version(reverse=True)
    ]
    assert versions[-1] == VERSION


def test_hooks_are_the_tools_of_make_lint() -> None:
    repositories = load(".pre-commit-config.yaml")["repos"]
    assert [repository["repo"] for repository in repositories] == ["local"]
    hooks = repositories[0]["hooks"]
    assert {hook["id"] for hook in hooks} == {"ruff-format", "ruff-check", "import-linter", "mypy"}
    lint = re.search(r"^lint:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    assert lint
    tools = set(re.findall(r"\$\(BIN\)/([\w-]+)", lint[1]))
    for hook in hooks:
        assert hook["language"] == "system"
        program = re.fullmatch(r"\.venv/bin/([\w-]+)", hook["entry"].split()[0])
        assert program and program[1] in tools


def test_the_workflow_runs_the_two_commands_and_builds_with_colcon() -> None:
    jobs = load(".github/workflows/ci.yml")["jobs"]
    commands = {name: "\n".join(step.get("run", "") for step in job["steps"]) for name, job in jobs.items()}
    assert re.findall(r"^make .*$", commands["make"], re.MULTILINE) == ["make demo", "make test"]
    assert jobs["make"]["strategy"]["matrix"]["python"] == ["3.10", "3.12"]
    assert "colcon build" in commands["colcon"] and "rosdep install" in commands["colcon"]
    images = [
        jobs["colcon"]["container"].replace("${{ matrix.distro }}", distro)
        for distro in jobs["colcon"]["strategy"]["matrix"]["distro"]
    ]
    assert images == ["ros:humble", "ros:jazzy", "ros:kilted", "ros:lyrical"]
    for path in re.findall(r"src/gaussian_yolo/(\S+)", commands["colcon"]):
        assert (REPOSITORY / path).exists()


def test_every_make_target_that_is_named_exists() -> None:
    workflow = (REPOSITORY / ".github/workflows/ci.yml").read_text(encoding="utf-8")
    named = set(re.findall(r"(?:^|`|run: )make ([a-z-]+)", f"{CONTRIBUTING}\n{workflow}", re.MULTILINE))
    assert {"demo", "env", "env-train", "lint", "test"} <= named <= TARGETS


def test_make_looks_for_serial_tests_in_their_folders() -> None:
    """Only there, because collecting all tests again takes long."""
    (places,) = re.findall(r"^SERIAL = \((.+?)\)$", (REPOSITORY / "test/conftest.py").read_text(), re.M | re.S)
    (folders,) = re.findall(r'-m "serial [^"]*" (.+) \|\|', MAKEFILE)
    assert {f"test/{place}" for place in re.findall(r'"(\w+)/', places)} == set(folders.split())
    marked = [path for path in (REPOSITORY / "test").rglob("test_*.py") if "mark.serial" in path.read_text()]
    assert marked == [REPOSITORY / "test/test_habits.py"]


@pytest.mark.parametrize("path", named_paths(CONTRIBUTING))
def test_path_in_contributing_exists(path: str) -> None:
    place = REPOSITORY / path
    assert (place.parent if "NAME" in path else place).exists()


def test_names_in_contributing_stand_in_their_files() -> None:
    named = re.findall(r"`(\w+)` (?:in|of)\s+`([\w/]+\.py)`", CONTRIBUTING)
    assert len(named) >= 7
    for name, path in named:
        assert re.search(rf"\b{name}\b", (REPOSITORY / path).read_text(encoding="utf-8")), (name, path)


def test_the_facts_have_five_sections() -> None:
    headings = re.findall(r"^## (\d) (.+)$", FACTS, re.MULTILINE)
    assert [int(number) for number, _ in headings] == [1, 2, 3, 4, 5]
    topics = ("Gaussian YOLOv3", "MixNet", "EfficientNet", "Noisy Student", "Style transfer")
    assert all(topic in heading for topic, (_, heading) in zip(topics, headings, strict=True))


def test_references_to_the_facts_lead_to_a_section() -> None:
    files = [
        path for folder in ("gaussian_yolo_node", "test", "benchmarks") for path in (REPOSITORY / folder).rglob("*.py")
    ]
    texts = "\n".join(path.read_text(encoding="utf-8") for path in files)
    sections = re.findall(r"docs/paper_facts\.md,[\s#]+sections? (\d)", texts)
    assert set(sections) <= set("12345")


def test_the_facts_name_code_that_exists() -> None:
    named = re.findall(r"`(gaussian_yolo_node/[\w/.]+)`", FACTS)
    assert named and all((REPOSITORY / path).exists() for path in named)
