"""How many processor threads torch uses."""

from __future__ import annotations

import torch


def use_threads(count: int) -> None:
    """Let torch compute with so many threads; 0 leaves its own choice."""
    if count:
        torch.set_num_threads(count)
