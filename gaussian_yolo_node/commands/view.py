"""The command `view`."""

from __future__ import annotations

from typing import Annotated

import typer

from gaussian_yolo_node.commands import flags
from gaussian_yolo_node.view import DEFAULT_PORT, LOCALHOST


def view(
    source: flags.Source,
    model: flags.Model = None,
    runtime: flags.Runtime = "auto",
    input_size: flags.InputSize = None,
    threads: flags.Threads = 0,
    rate: Annotated[float, typer.Option(min=0, help="Frames per second of a file; 0: its own, 10 for images.")] = 0,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the page; 0 takes a free one.")] = DEFAULT_PORT,
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 lets all that can reach this machine watch.")
    ] = LOCALHOST,
) -> None:
    """Show detections in a source live, on a page in the browser, until Ctrl-C. A file is played again and again.

    Example: gaussian-yolo view drive.mp4 --port 8642
    """
    from gaussian_yolo_node.commands.view_run import view_source
    from gaussian_yolo_node.detector.detector import Detector
    from gaussian_yolo_node.detector.model import DEFAULT_MODEL
    from gaussian_yolo_node.display import without_secrets
    from gaussian_yolo_node.frames import open_source
    from gaussian_yolo_node.runtime import RuntimeOptions
    from gaussian_yolo_node.view.server import open_camera

    frames = open_source(source, playback="realtime", fps=rate, loop=True)
    try:
        camera = open_camera(without_secrets(source), port, host)
        try:
            print(f"live view: {camera.address}", flush=True)
            options = RuntimeOptions(threads=threads, input_size=flags.parse_input_size(input_size))
            with Detector.open(model or DEFAULT_MODEL, runtime, options=options) as detector:
                view_source(frames, detector, camera)
        finally:
            camera.close()
    finally:
        frames.close()
