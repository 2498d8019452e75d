"""The executable `replay_node`: a replay started by launch, and its signals.

SIGINT and SIGTERM, with which launch ends its nodes, and SIGHUP end it with exit code 0 at any moment; the frames
played so far are kept. This module imports nothing heavy at the top, so that its handlers are installed first.
"""

from __future__ import annotations

import os
import signal
import sys

from gaussian_yolo_node.ros.perception_node import on_signals


def main(args: list[str] | None = None) -> None:
    """Replay according to the parameters, and exit."""
    on_signals(lambda *_: os._exit(0))
    from gaussian_yolo_node.commands.replay_node_run import run

    on_signals(signal.default_int_handler)
    try:
        code = run(sys.argv if args is None else args)
    except KeyboardInterrupt:
        code = 0
    sys.exit(code)


if __name__ == "__main__":
    main()
