"""Torch threads in the tests of exports, as in those of the networks; commands in the tests' process."""

from command_line import run
from lab.networks.conftest import one_thread

__all__ = ["one_thread", "run"]
