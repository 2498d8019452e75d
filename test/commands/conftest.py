"""Commands in the tests' process."""

from command_line import Result, Run, run, run_apart

__all__ = ["Result", "Run", "run", "run_apart"]
