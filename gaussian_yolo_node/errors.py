"""Errors that the user can fix.

Every message is one sentence that names the cause and the remedy. The command line and the node's diagnostics
show it without a traceback; secrets and control characters of names in it are masked.
"""

from gaussian_yolo_node.display import safe


def install_line(*extras: str) -> str:
    """The command that installs extras of this package, which is on no package index."""
    return f"pip install '.[{','.join(extras)}]' in the folder of its source"


class GaussianYoloError(Exception):
    """Base class of all errors that this package raises on purpose; each subsystem derives its own."""

    def __str__(self) -> str:
        return safe(super().__str__())


class ModelError(GaussianYoloError):
    """A model file is missing, unreadable, or does not match its card."""


class SettingError(GaussianYoloError):
    """A threshold or option has a value outside its range."""
