"""TensorRT (10.3 to 11) and TensorRT for RTX, which are one interface with different packages and a few differences.

Whatever differs between them is here.
"""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from gaussian_yolo_node.errors import GaussianYoloError, SettingError
from gaussian_yolo_node.runtime.base import RuntimeUnavailableError, last_words
from gaussian_yolo_node.runtime.board import read_board

Flavor = Literal["tensorrt", "tensorrt_rtx"]

OLDEST, TOO_NEW = (10, 3), (12, 0)  # of TensorRT: strongly typed networks and V3 plugins; beyond is untried
# The package named tensorrt_rtx only passes on what is in the second, which can also be installed alone.
_MODULES: dict[Flavor, tuple[str, ...]] = {
    "tensorrt": ("tensorrt",),
    "tensorrt_rtx": ("tensorrt_rtx", "tensorrt_rtx_bindings"),
}
_RTX_SONAME = "libtensorrt_rtx.so"


@dataclass(frozen=True)
class TensorRtApi:
    """One of the two packages.

    Attributes:
        trt: the module.
        flavor: which.
        version: "10.3.0".
    """

    trt: Any
    flavor: Flavor
    version: str

    @property
    def title(self) -> str:
        """Name and version, for people."""
        return f"TensorRT{' for RTX' if self.flavor == 'tensorrt_rtx' else ''} {self.version}"

    def check_options(self, *, dla: int | None, timing_cache: Path | None) -> None:
        """Raise SettingError for what this package does not have."""
        if self.flavor == "tensorrt_rtx" and dla is not None:
            raise SettingError(
                "TensorRT for RTX has no DLA; build the engine with TensorRT on the Jetson, or without --dla"
            )
        if self.flavor == "tensorrt_rtx" and timing_cache is not None:
            raise SettingError("TensorRT for RTX measures nothing while it builds; leave --timing-cache out")

    def make_network(self, builder: Any, *, strongly_typed: bool) -> Any:
        """An empty network. From TensorRT 11 on every network is strongly typed, and the flag may be gone."""
        flag = getattr(self.trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
        return builder.create_network(1 << int(flag) if strongly_typed and flag is not None else 0)

    def typed_by_flags(self, dla: int | None) -> bool:
        """Whether precision is set by flags: TensorRT 10 puts on the DLA only what FP16 and INT8 are allowed for."""
        return dla is not None and hasattr(self.trt.BuilderFlag, "FP16")

    def use_dla(self, config: Any, core: int, precision: str) -> None:
        """Put on a DLA what it can take, and the rest on the GPU."""
        flags = self.trt.BuilderFlag
        config.default_device_type = self.trt.DeviceType.DLA
        config.DLA_core = core
        config.set_flag(flags.GPU_FALLBACK)
        if self.typed_by_flags(core):
            config.set_flag(flags.FP16)
            if precision == "int8":
                config.set_flag(flags.INT8)

    def set_targets(self, config: Any, capabilities: Sequence[str]) -> None:
        """Build for GPUs of these compute capabilities, whether or not one is here. TensorRT knows only the GPU here.

        Raises:
            SettingError: a capability is unknown.
        """
        if self.flavor != "tensorrt_rtx":
            return
        known = {name[2:]: value for name, value in self.trt.ComputeCapability.__members__.items() if name[:2] == "SM"}
        for name in capabilities:
            if name not in known:
                raise SettingError(
                    f"--compute-capability {name} is none that TensorRT for RTX {self.version} builds for; choose from "
                    f"{', '.join(sorted(known, key=int))}"
                )
        config.num_compute_capabilities = len(capabilities)
        for index, name in enumerate(capabilities):
            config.set_compute_capability(known[name], index)


def load_api(flavor: Flavor | None = None) -> TensorRtApi:
    """Import TensorRT.

    Args:
        flavor: which; None takes TensorRT if it is there, else TensorRT for RTX.

    Raises:
        RuntimeUnavailableError: it is not installed, does not load, or is of a version that is not supported; says how
            to install it on this machine.
    """
    wanted: tuple[Flavor, ...] = ("tensorrt", "tensorrt_rtx") if flavor is None else (flavor,)
    failures: dict[Flavor, str] = {}
    for name in wanted:
        for module in _MODULES[name]:
            try:
                trt = import_module(module)
            except ImportError as error:
                failures.setdefault(name, last_words(error))
            else:
                return _checked(TensorRtApi(trt, name, trt.__version__))
    lines = " or ".join(f"`{read_board().install_line(name)}`" for name in failures)
    reasons = "; ".join(f"{name}: {reason}" for name, reason in failures.items())
    raise RuntimeUnavailableError(f"building an engine needs TensorRT, which cannot be imported ({reasons}); {lines}")


def _checked(api: TensorRtApi) -> TensorRtApi:
    if api.flavor == "tensorrt":
        found = tuple(int(part) for part in re.findall(r"\d+", api.version)[:2])
        if not OLDEST <= found < TOO_NEW:
            raise RuntimeUnavailableError(
                f"TensorRT {api.version} is installed and engines are built with {OLDEST[0]}.{OLDEST[1]} up to "
                f"{TOO_NEW[0] - 1}; `{read_board().install_line('tensorrt')}`"
            )
    else:
        _alias_rtx(Path(api.trt.__file__))
    return api


class AliasError(GaussianYoloError):
    """TensorRT for RTX's parser would not find its own library."""


@cache
def _alias_rtx(package: Path) -> None:
    """Load TensorRT for RTX under the name that its ONNX parser asks for when it meets a plugin.

    The parser opens libtensorrt_rtx.so, and the wheels have only libtensorrt_rtx.so.1. A loaded library is found by its
    soname, so an empty one with that soname, which needs the other, is what the parser gets.
    """
    try:
        ctypes.CDLL(_RTX_SONAME)
        return
    except OSError:
        pass
    places = [package.parent, package.parent.parent / "tensorrt_rtx_libs"]
    libraries = [file for place in places for file in sorted(place.glob(f"{_RTX_SONAME}.*"))]
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not libraries or compiler is None:
        missing = "a C compiler, to make it for the wheels of TensorRT for RTX" if libraries else "its folder's name"
        raise AliasError(
            f"{_RTX_SONAME} is not found, and needs {missing}: sudo apt install gcc, or put its folder in "
            "LD_LIBRARY_PATH"
        )
    with tempfile.TemporaryDirectory(prefix="gaussian-yolo-") as folder:
        alias = Path(folder) / _RTX_SONAME
        command = [compiler, "-shared", "-nostdlib", f"-Wl,-soname,{_RTX_SONAME}", "-Wl,--no-as-needed"]
        done = subprocess.run(
            [*command, "-o", str(alias), str(libraries[0])], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise AliasError(f"{_RTX_SONAME} cannot be made ({done.stderr.strip()}); put its folder in LD_LIBRARY_PATH")
        ctypes.CDLL(str(alias), ctypes.RTLD_GLOBAL)  # stays loaded when the file is gone
