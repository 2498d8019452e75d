"""docs/docker: what a linter asks of a Dockerfile, and that every path named there exists."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
DOCKER = REPOSITORY / "docs" / "docker"
DOCKERFILES = sorted(DOCKER.glob("*.Dockerfile"))
Instruction = tuple[str, str]


def instructions(path: Path) -> list[Instruction]:
    """Keyword and arguments of each instruction, without comments, with continued lines joined."""
    text = "\n".join(line for line in path.read_text().splitlines() if not line.lstrip().startswith("#"))
    lines = re.sub(r"\\\n", " ", text).splitlines()
    return [
        (word, re.sub(r"\s+", " ", rest).strip()) for word, _, rest in (line.partition(" ") for line in lines) if word
    ]


def stages(path: Path) -> dict[str, list[Instruction]]:
    """Instructions of each stage, by its name."""
    found: dict[str, list[Instruction]] = {}
    for word, rest in instructions(path):
        if word == "FROM":
            name = rest.partition(" AS ")[2] or rest
            found[name] = []
        found[name].append((word, rest))
    return found


def arguments(path: Path, keyword: str) -> list[str]:
    return [rest for word, rest in instructions(path) if word == keyword]


each = pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)


def test_there_is_one_for_each_kind_of_machine() -> None:
    assert [path.name for path in DOCKERFILES] == ["cpu.Dockerfile", "jetson.Dockerfile", "x86.Dockerfile"]


@each
def test_base_images_have_a_fixed_tag(path: Path) -> None:
    for rest in arguments(path, "FROM"):
        image = rest.split(" AS ")[0]
        assert re.fullmatch(r"[\w./-]+:[\w.-]+", image) and not image.endswith(":latest"), image


@each
def test_no_stage_ends_as_root(path: Path) -> None:
    for name, content in stages(path).items():
        users = [rest for word, rest in content if word == "USER"]
        assert users and users[-1] not in ("root", "0"), name
        created = " ".join(rest for word, rest in content if word == "RUN")
        assert re.search(rf"useradd [^&]*\b{users[-1]}\b", created), name
        assert [word for word, _ in content[[word for word, _ in content].index("USER") :] if word == "RUN"] == []


@each
def test_no_cache_of_packages_stays(path: Path) -> None:
    for rest in arguments(path, "RUN"):
        if "apt-get" in rest:
            assert "rm -rf /var/lib/apt/lists/*" in rest
            assert rest.startswith("apt-get update")
        for command in re.findall(r"apt-get install[^&]*", rest):
            assert " -y " in command and "--no-install-recommends" in command
        for command in re.findall(r"pip install[^&]*", rest):
            assert "--no-cache-dir" in command
            requirements = re.findall(r"'[^']+'|(?<= )[a-z][\w-]+(?= |$)", command.partition("--no-cache-dir")[2])
            assert requirements and all("==" in each for each in requirements), requirements
        if "rosdep install" in rest:
            assert "PIP_NO_CACHE_DIR=1" in " ".join(arguments(path, "ENV"))
    assert not arguments(path, "ADD") and not arguments(path, "MAINTAINER")
    assert "sudo " not in path.read_text()


@each
def test_commands_start_without_a_shell(path: Path) -> None:
    commands = arguments(path, "CMD") + arguments(path, "ENTRYPOINT")
    assert commands
    for rest in commands:
        assert all(isinstance(word, str) for word in json.loads(rest))
    assert all(directory.startswith("/") for directory in arguments(path, "WORKDIR"))


@each
def test_what_is_copied_and_named_exists(path: Path) -> None:
    for rest in arguments(path, "COPY"):
        assert (REPOSITORY / rest.split()[0]).exists()
    for named in re.findall(r"-f (docs/docker/\S+)", path.read_text()):
        assert (REPOSITORY / named).is_file()
    if "ENTRYPOINT" in dict(instructions(path)):
        assert "ROS_DISTRO=" in path.read_text() or "FROM ros:" in path.read_text()  # entrypoint.sh reads it


def test_the_cpu_image_installs_what_the_manifest_declares() -> None:
    (node,) = (content for name, content in stages(DOCKER / "cpu.Dockerfile").items() if name == "node")
    runs = " ".join(rest for word, rest in node if word == "RUN")
    assert "rosdep install --from-paths src" in runs
    assert "tensorrt" not in runs and "cuda" not in runs
    assert "<exec_depend>python3-onnxruntime-pip</exec_depend>" in (REPOSITORY / "package.xml").read_text()


def test_the_compose_file_joins_a_camera_and_the_node() -> None:
    path = DOCKER / "cpu.compose.yaml"
    services = yaml.safe_load(path.read_text())["services"]
    assert set(services) == {"camera", "node"}
    for service in services.values():
        # Images go through one shared memory, discovery through one network.
        assert (service["ipc"], service["network_mode"]) == ("host", "host")
        assert service["cap_drop"] == ["ALL"]
        assert "no-new-privileges:true" in service["security_opt"]
        assert not service.get("privileged") and "user" not in service  # the image's, which is not root
        context = (path.parent / service["build"]["context"]).resolve()
        assert context == REPOSITORY
        assert service["build"]["target"] in stages(context / service["build"]["dockerfile"])
        for volume in service.get("volumes", []):
            assert (path.parent / volume.split(":")[0]).is_file()
    camera = " ".join(rest for _, rest in stages(DOCKER / "cpu.Dockerfile")["camera"])
    assert "__ns:=/camera" in camera
    assert "image_topic:=/camera/image_raw" in services["node"]["command"]
    assert services["node"]["depends_on"] == ["camera"]


def test_the_context_leaves_out_what_is_not_built_from() -> None:
    ignored = (DOCKER / "cpu.Dockerfile.dockerignore").read_text().splitlines()
    assert {".*", "build", "out"} <= set(ignored)
    for needed in ("package.xml", "setup.py", "launch", "engines", "gaussian_yolo_node", "resource", "docs", "calib"):
        assert needed not in ignored


def daemon_answers() -> bool:
    command = shutil.which("docker")
    return bool(command) and subprocess.run([command, "info"], capture_output=True, check=False).returncode == 0


def test_the_cpu_image_builds_and_doctor_runs_in_it() -> None:
    if not daemon_answers():
        pytest.skip("no Docker daemon answers")
    image = "gaussian_yolo:test"
    build = ["docker", "build", "-q", "-f", str(DOCKER / "cpu.Dockerfile"), "--target", "node", "-t", image, "."]
    subprocess.run(build, cwd=REPOSITORY, check=True)
    done = subprocess.run(
        ["docker", "run", "--rm", image, "gaussian-yolo", "doctor", "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["runtimes"]["onnxruntime"] == "ready"
