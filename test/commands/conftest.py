"""Commands in the tests' process."""

from command_line import Result, Run, run

__all__ = ["Result", "Run", "run"]
