"""The student's loss (Noisy Student, algorithm 1): mean over the combined batch of labels and soft pseudo labels."""

from __future__ import annotations

from torch import Tensor


def student_loss(logits: Tensor, targets: Tensor, labelled: int, smoothing: float) -> tuple[Tensor, Tensor]:
    """Cross-entropy summed over the labelled images, and over the pseudo-labelled ones; divide their sum by B.

    Args:
        logits: `[B,C]`.
        targets: `[B,C]` probabilities, the labelled images first.
        labelled: number of labelled images. Only their targets are smoothed; a teacher's are already soft.
        smoothing: label smoothing, spread over all C classes (Szegedy et al., CVPR 2016).
    """
    losses = -(smoothed(targets, labelled, smoothing) * logits.log_softmax(1)).sum(1)
    return losses[:labelled].sum(), losses[labelled:].sum()


def smoothed(targets: Tensor, labelled: int, smoothing: float) -> Tensor:
    """`targets` with label smoothing (towards 1/C) in the first `labelled` rows."""
    mixed = targets.clone()
    mixed[:labelled] = targets[:labelled] * (1 - smoothing) + smoothing / targets.shape[1]
    return mixed
