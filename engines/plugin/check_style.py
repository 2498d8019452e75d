"""Format and static analysis of the C++ and CUDA sources, with clang-format and clang-tidy where they are installed.

`python engines/plugin/check_style.py [--fix]`; both tools are packages of those names on the Python index. The kernels
are analysed as the C++ that the CPU shim makes of them, the plugin where TENSORRT_ROOT and CUDA_HOME hold its headers.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
SUFFIXES = {".h", ".cuh", ".cu", ".cpp"}


def main() -> int:
    """Exit status 1 where a tool objects."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--fix", action="store_true", help="format the sources instead of asking whether they are")
    fix = parser.parse_args().fix
    # Not in all folders: a build folder holds sources that CMake makes.
    sources = sorted(path for folder in (FOLDER, FOLDER / "cpu_shim") for path in folder.iterdir())
    sources = [path for path in sources if path.suffix in SUFFIXES]
    checks = [("clang-format", [*(["-i"] if fix else ["--dry-run", "--Werror"]), *map(str, sources)])]
    shim = [FOLDER / "kernels.cu", *sorted((FOLDER / "cpu_shim").glob("*.cpp"))]
    checks.append(("clang-tidy", _tidy(shim, ["-DGAUSSIAN_YOLO_CPU_SHIM"])))
    plugin, root = sorted(FOLDER.glob("*.cpp")), os.environ.get("TENSORRT_ROOT")
    if root:
        cuda = os.environ.get("CUDA_HOME", "/usr/local/cuda")
        checks.append(("clang-tidy", _tidy(plugin, ["-isystem", f"{root}/include", "-isystem", f"{cuda}/include"])))
    else:
        print("clang-tidy leaves the plugin out: TENSORRT_ROOT names no TensorRT")
    # Each is run, whatever another finds.
    return max([_run(tool, arguments) for tool, arguments in checks])


def _tidy(sources: list[Path], flags: list[str]) -> list[str]:
    return ["--quiet", *map(str, sources), "--", "-x", "c++", "-std=c++17", *flags]


def _run(tool: str, arguments: list[str]) -> int:
    beside_python = str(Path(sys.executable).parent)
    found = shutil.which(tool, path=os.pathsep.join([beside_python, os.environ.get("PATH", os.defpath)]))
    if found is None:
        print(f"{tool} is not installed: its check is left out")
        return 0
    ran = subprocess.run([found, *arguments], cwd=FOLDER, capture_output=True, text=True)
    if ran.returncode:
        print(ran.stdout + ran.stderr)
    return int(ran.returncode != 0)


if __name__ == "__main__":
    sys.exit(main())
