"""Repetitions of pseudo-labelled items that balance the classes (Noisy Student, section 3.1).

The paper keeps the most confident images of common classes and repeats those of rare ones, 130,000 per class.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def balance(
    class_ids: NDArray[np.int64], confidences: NDArray[np.float64], per_class: int, num_classes: int
) -> NDArray[np.int64]:
    """Copies `[N]` of each item; they sum to `per_class` for every class with items.

    A class with more items keeps the most confident ones. A class with fewer repeats all of them equally often, and the
    most confident ones once more for the remainder. Ties go to the earlier item.

    Args:
        class_ids: `[N]`, 0 to `num_classes` - 1.
        confidences: `[N]`.
    """
    copies = np.zeros(len(class_ids), np.int64)
    for class_id in range(num_classes):
        items = np.flatnonzero(class_ids == class_id)
        if not len(items):
            continue
        ranked = items[np.argsort(-confidences[items], kind="stable")]
        every, rest = divmod(per_class, len(ranked))
        copies[ranked] = every
        copies[ranked[:rest]] += 1
    return copies
