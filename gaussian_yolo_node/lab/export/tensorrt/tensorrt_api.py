"""TensorRT's Python package and its version differences: TensorRT 10.3 to 11, and TensorRT for RTX."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from gaussian_yolo_node.lab.export.tensorrt.contract import PLUGIN_NAME, PLUGIN_NAMESPACE, EngineError
from gaussian_yolo_node.runtime.base import RuntimeUnavailableError, last_words
from gaussian_yolo_node.runtime.tensorrt.board import read_board
from gaussian_yolo_node.runtime.tensorrt.loaded_engine import log_class
from gaussian_yolo_node.runtime.tensorrt.plugin_library import PLUGIN_VERSION

Flavor = Literal["tensorrt", "tensorrt_rtx"]

OLDEST = (10, 3)
_MODULES: dict[Flavor, tuple[str, ...]] = {
    "tensorrt": ("tensorrt",),
    # The package `tensorrt_rtx` is only an alias, missing from some wheels.
    "tensorrt_rtx": ("tensorrt_rtx", "tensorrt_rtx_bindings"),
}


@dataclass(frozen=True)
class TensorRt:
    """An installed TensorRT.

    Attributes:
        flavor: "tensorrt", or "tensorrt_rtx" for TensorRT for RTX. Their engines are not interchangeable.
        module: its Python package.
    """

    flavor: Flavor
    module: Any

    @property
    def version(self) -> str:
        return str(self.module.__version__)

    @property
    def is_rtx(self) -> bool:
        return self.flavor == "tensorrt_rtx"

    def network_flags(self) -> int:
        """Flags of a strongly typed network; 0 in TensorRT 11, where every network is strongly typed."""
        flag = getattr(self.module.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
        return 0 if flag is None else 1 << int(flag)

    def compute_capabilities(self) -> dict[str, Any]:
        """Ahead-of-time targets of TensorRT for RTX by compute capability; empty for TensorRT."""
        kinds = getattr(self.module, "ComputeCapability", None)
        names = (
            [] if kinds is None or not self.is_rtx else [name for name in dir(kinds) if re.fullmatch(r"SM\d+", name)]
        )
        return {name[2:]: getattr(kinds, name) for name in sorted(names, key=lambda name: int(name[2:]))}


def find_tensorrt(ahead_of_time: bool = False) -> TensorRt:
    """The installed TensorRT. If both flavors are installed: TensorRT, or RTX for ahead-of-time builds.

    Args:
        ahead_of_time: build for GPUs of other machines, which only TensorRT for RTX supports.

    Raises:
        RuntimeUnavailableError: TensorRT is not installed, does not load, or is too old; the message says how to
            install it.
    """
    flavors: list[Flavor] = ["tensorrt_rtx"] if ahead_of_time else ["tensorrt", "tensorrt_rtx"]
    reasons = []
    for flavor in flavors:
        try:
            tensorrt = TensorRt(flavor, import_tensorrt(flavor))
        except ImportError as error:
            reasons.append(last_words(error))
            continue
        numbers = tuple(int(number) for number in re.findall(r"\d+", tensorrt.version)[:2])
        if not tensorrt.is_rtx and numbers < OLDEST:
            raise RuntimeUnavailableError(
                f"TensorRT {tensorrt.version} is installed; build-engine needs {'.'.join(map(str, OLDEST))} or later; "
                f"update it with `{read_board().install_line('tensorrt')}`"
            )
        return tensorrt
    board = read_board()
    lines = " or ".join(f"`{board.install_line(flavor)}`" for flavor in flavors)
    raise RuntimeUnavailableError(
        f"build-engine needs the package {' or '.join(flavors)}, which cannot be imported ({'; '.join(reasons)}); "
        f"install it with {lines}"
    )


def import_tensorrt(flavor: Flavor) -> Any:
    """TensorRT's Python package.

    Raises:
        ImportError: it is not installed or does not load.
    """
    names = _MODULES[flavor]
    for name in names[:-1]:
        try:
            return import_module(name)
        except ImportError:
            continue
    return import_module(names[-1])


def make_logger(trt: Any) -> Any:
    """A TensorRT logger that keeps the last errors, because failed calls do not report a reason."""
    return log_class(trt)()


def provide_plugin(tensorrt: TensorRt, library: Path | None) -> None:
    """Register `GaussianYoloDetect` with TensorRT, once per process.

    Args:
        tensorrt: the TensorRT to use.
        library: `libgaussian_yolo_plugin.so`; None, with TensorRT for RTX, registers a stand-in that can build engines
            but not run them.

    Raises:
        EngineError: TensorRT rejects it.
    """
    if tensorrt.is_rtx:
        _alias_rtx_library()
    registry = tensorrt.module.get_plugin_registry()
    if registry.get_creator(PLUGIN_NAME, PLUGIN_VERSION, PLUGIN_NAMESPACE) is not None:
        return
    if library is not None:
        try:
            taken = registry.load_library(str(library)) is not None
        except RuntimeError as error:
            raise EngineError(
                f"{library} cannot be loaded ({last_words(error)}); build it again from engines/plugin"
            ) from error
        if not taken or registry.get_creator(PLUGIN_NAME, PLUGIN_VERSION, PLUGIN_NAMESPACE) is None:
            raise EngineError(
                f"TensorRT {tensorrt.version} does not take {library} as a library with {PLUGIN_NAME}; build it again "
                "from engines/plugin, with the headers of this TensorRT"
            )
    else:
        from gaussian_yolo_node.lab.export.tensorrt.build_time_plugin import register

        register(tensorrt.module)


@cache
def _alias_rtx_library() -> None:
    """Load a library named `libtensorrt_rtx.so`, which RTX's ONNX parser looks up at a plugin node.

    The wheel contains only libtensorrt_rtx.so.1. An empty library with the other name that depends on it satisfies the
    lookup, because it is already loaded. Archive installations have both names.
    """
    try:
        folder = Path(str(import_module("tensorrt_rtx_libs").__file__)).parent
    except ImportError:
        return
    versioned = sorted(folder.glob("libtensorrt_rtx.so.*"))
    if not versioned or (folder / "libtensorrt_rtx.so").exists():
        return
    linker = next(filter(None, map(shutil.which, ("ld", "ld.bfd", "ld.gold", "ld.lld", "lld"))), None)
    if linker is None:
        raise RuntimeUnavailableError(
            "TensorRT for RTX needs a linker for plugins and there is no `ld`; install it with "
            "`sudo apt install binutils`"
        )
    with tempfile.TemporaryDirectory(prefix="gaussian-yolo-") as place:
        alias = Path(place) / "libtensorrt_rtx.so"
        command = [linker, "-shared", "--no-as-needed", "-soname", alias.name, "-o", str(alias), str(versioned[-1])]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeUnavailableError(
                f"an alias of {versioned[-1]} cannot be linked ({last_words(RuntimeError(done.stderr))}); repair the "
                "linker with `sudo apt install --reinstall binutils`"
            )
        # Stays loaded for the life of the process, without its file.
        ctypes.CDLL(str(alias))
