"""The student's loss (Noisy Student, algorithm 1): labels and soft pseudo labels, averaged over the combined batch."""

from __future__ import annotations

from torch import Tensor


def student_loss(logits: Tensor, targets: Tensor, labelled: int, smoothing: float) -> tuple[Tensor, Tensor]:
    """Cross-entropy summed over the labelled and over the pseudo-labelled pictures; divide their sum by B.

    Args:
        logits: `[B,C]`.
        targets: `[B,C]` probabilities, the labelled pictures first.
        labelled: their number. Only their targets are smoothed: a teacher's are soft as they are.
        smoothing: share of a label that is spread over all C classes (Szegedy et al., CVPR 2016).
    """
    losses = -(smoothed(targets, labelled, smoothing) * logits.log_softmax(1)).sum(1)
    return losses[:labelled].sum(), losses[labelled:].sum()


def smoothed(targets: Tensor, labelled: int, smoothing: float) -> Tensor:
    """`targets`, those of the first `labelled` rows mixed with 1/C."""
    mixed = targets.clone()
    mixed[:labelled] = targets[:labelled] * (1 - smoothing) + smoothing / targets.shape[1]
    return mixed
