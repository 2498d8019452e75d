"""What nvcc makes of the kernels on each architecture: registers, stack, spills, shared memory.

`python engines/plugin/check_kernels.py [--nvcc PATH] [87 89 ...]` prints a Markdown table and ends with status 1 where
a kernel spills, needs a stack of more than 64 bytes, or takes more than 96 registers a thread.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
# Contraction to fused multiply-add would move thresholds by a last bit against the other implementations.
FLAGS = ["-std=c++17", "-O3", "--fmad=false"]
OLDEST = 72  # Xavier, JetPack 5

MAX_REGISTERS = 96
MAX_STACK = 64  # bytes

_ENTRY = re.compile(r"Compiling entry function '(?P<name>\w+)' for 'sm_\d+'")
_FRAME = re.compile(r"(?P<stack>\d+) bytes stack frame, (?P<stores>\d+) bytes spill stores, (?P<loads>\d+) bytes spill")
_USED = re.compile(r"Used (?P<registers>\d+) registers")
_SHARED = re.compile(r"(?P<shared>\d+) bytes smem")


@dataclass(frozen=True)
class KernelUse:
    """What one kernel takes on one architecture; bytes, and registers of a thread."""

    kernel: str
    architecture: int
    registers: int
    stack: int
    spills: int
    shared: int

    @property
    def fault(self) -> str | None:
        """Why the gate does not open, if so."""
        for what, value, limit in (
            ("registers", self.registers, MAX_REGISTERS),
            ("bytes of stack", self.stack, MAX_STACK),
            ("bytes of spills", self.spills, 0),
        ):
            if value > limit:
                return f"{self.kernel} on sm_{self.architecture}: {value} {what}, at most {limit} are allowed"
        return None


def known_architectures(nvcc: str) -> list[int]:
    """Those this nvcc compiles for, from `OLDEST` on."""
    listed = subprocess.run([nvcc, "--list-gpu-arch"], check=True, capture_output=True, text=True).stdout
    return sorted(number for number in map(int, re.findall(r"compute_(\d+)\b", listed)) if number >= OLDEST)


def compile_for(nvcc: str, architecture: int) -> list[KernelUse]:
    """Compile kernels.cu.

    Raises:
        RuntimeError: nvcc fails, with what it says.
    """
    target = f"arch=compute_{architecture},code=sm_{architecture}"
    with tempfile.TemporaryDirectory() as folder:
        command = [nvcc, *FLAGS, "-Xptxas", "-v", "-gencode", target, "-cubin", "-o", f"{folder}/kernels.cubin"]
        ran = subprocess.run([*command, str(FOLDER / "kernels.cu")], capture_output=True, text=True)
    if ran.returncode:
        raise RuntimeError(f"nvcc does not compile kernels.cu for sm_{architecture}:\n{ran.stdout}{ran.stderr}")
    return parse(ran.stdout + ran.stderr, architecture)


def parse(report: str, architecture: int) -> list[KernelUse]:
    """Read what `ptxas -v` reports, a kernel after the other."""
    uses = []
    for entry in re.split(r"(?=Compiling entry function)", report):
        name, frame, used = _ENTRY.search(entry), _FRAME.search(entry), _USED.search(entry)
        if not (name and frame and used):
            continue
        shared = _SHARED.search(entry)
        uses.append(
            KernelUse(
                kernel=_plain(name["name"]),
                architecture=architecture,
                registers=int(used["registers"]),
                stack=int(frame["stack"]),
                spills=int(frame["stores"]) + int(frame["loads"]),
                shared=int(shared["shared"]) if shared else 0,
            )
        )
    return sorted(uses, key=lambda use: use.kernel)


def table(uses: Sequence[KernelUse]) -> str:
    """Markdown: registers of each kernel on each architecture, then the most of the rest on any."""
    architectures = sorted({use.architecture for use in uses})
    lines = [
        "| kernel | " + " | ".join(f"sm_{number}" for number in architectures) + " | shared, bytes | stack | spills |",
        "|---" * (len(architectures) + 4) + "|",
    ]
    for kernel in sorted({use.kernel for use in uses}):
        of_kernel = {use.architecture: use for use in uses if use.kernel == kernel}
        cells = [str(of_kernel[number].registers) for number in architectures]
        cells += [str(max(getattr(use, what) for use in of_kernel.values())) for what in ("shared", "stack", "spills")]
        lines.append(f"| `{kernel}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _plain(mangled: str) -> str:
    """`findKernel<half>` of a mangled name."""
    match = re.match(r"_ZN13gaussian_yolo(\d+)", mangled)
    if match is None:
        return mangled
    end = match.end() + int(match[1])
    argument = re.match(r"I(f|6__half)E", mangled[end:])
    suffix = "" if argument is None else {"f": "<float>", "6__half": "<half>"}[argument[1]]
    return mangled[match.end() : end] + suffix


def main() -> int:
    """Exit status 1 where a kernel takes too much, 2 where there is no nvcc."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("architectures", nargs="*", type=int, help="such as 87; all that nvcc knows by default")
    parser.add_argument("--nvcc", default=shutil.which("nvcc") or "/usr/local/cuda/bin/nvcc")
    arguments = parser.parse_args()
    if not shutil.which(arguments.nvcc):
        print(f"error: there is no nvcc at {arguments.nvcc}; name one with --nvcc", file=sys.stderr)
        return 2
    uses = [
        use
        for architecture in arguments.architectures or known_architectures(arguments.nvcc)
        for use in compile_for(arguments.nvcc, architecture)
    ]
    print(table(uses))
    faults = [use.fault for use in uses if use.fault]
    for fault in faults:
        print(f"error: {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
