"""Start of `gaussian-yolo`, also as `python -m gaussian_yolo_node.commands`, the form that torchrun needs.

Imports no typer at the top: without a usable typer it must still say so, and run `doctor`.
"""

from __future__ import annotations

import sys

from gaussian_yolo_node.commands.typer_version import typer_fault
from gaussian_yolo_node.processes import end_with_starter, run_until_signal


def main() -> None:
    """Run the command that the arguments name, and exit."""
    run_until_signal(_run)


def _run() -> None:
    end_with_starter()
    fault = typer_fault()
    if not fault:
        from gaussian_yolo_node.commands.gaussian_yolo import main as run

        run()
    elif sys.argv[1:2] == ["doctor"]:
        from gaussian_yolo_node.commands.doctor_run import run as examine

        print(f"note: {fault}", file=sys.stderr)
        examine(as_json="--json" in sys.argv)
    else:
        print(f"error: {fault}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
