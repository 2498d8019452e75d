"""How often each pseudo-labelled item is shown, so that classes come equally often (Noisy Student, section 3.1).

The paper keeps the most confident images of a common class and repeats those of a rare one, 130,000 a class.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def balance(
    class_ids: NDArray[np.int64], confidences: NDArray[np.float64], per_class: int, num_classes: int
) -> NDArray[np.int64]:
    """Copies `[N]` of each item: they sum up to `per_class` for every class that has any item.

    A class of more items keeps the most confident ones; one of fewer repeats all of them equally often, and the most
    confident once more where that does not come out even. Of equal confidence the earlier one goes first.

    Args:
        class_ids: `[N]`, 0 to `num_classes` - 1; confidences: `[N]`.
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
