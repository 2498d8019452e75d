"""Torch threads in the tests of exports, as in those of the networks."""

from lab.networks.conftest import one_thread

__all__ = ["one_thread"]
