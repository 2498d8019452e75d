"""The live view: one page in the browser with each camera's boxes, the road from above and the last minute's figures.

`server.open_camera` adds a camera to the page; `frame.ViewedFrame` is what the page shows of one frame.
"""

# Only this machine sees the cameras, unless `view_host` says otherwise.
LOCALHOST = "127.0.0.1"
DEFAULT_PORT = 8642
