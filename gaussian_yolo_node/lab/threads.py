"""Number of CPU threads of torch."""

from __future__ import annotations

import torch


def use_threads(count: int) -> None:
    """Set torch's number of threads; 0 keeps torch's default."""
    if count:
        torch.set_num_threads(count)
