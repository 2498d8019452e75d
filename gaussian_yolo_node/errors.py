"""The errors a user can mend.

Every message is one sentence that names the thing at fault and what to do about it, so the command line and
the node's diagnostics can show it as it is, without a traceback.
"""


class GaussianYoloError(Exception):
    """Base of all errors this package raises on purpose; each subsystem derives its own."""


class ModelError(GaussianYoloError):
    """A model file is missing, unreadable, or does not fit its card."""


class SettingError(GaussianYoloError):
    """A threshold or option has a value outside its range."""
