"""Fix the dynamic height and width of a model file, for programs that need a static size."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx


def fix_size(model: onnx.ModelProto, size: tuple[int, int]) -> None:
    """Fix the canvas size of a graph with dynamic height and width.

    Args:
        model: input `[B,H,W,3]`; changed in place. Shapes derived from the dynamic size are left to shape inference.
        size: height and width, px.
    """
    shape = model.graph.input[0].type.tensor_type.shape
    if len(shape.dim) != 4:
        return
    free = [(dim, side) for dim, side in zip(shape.dim[1:3], size, strict=True) if not dim.HasField("dim_value")]
    if not free:
        return
    for dim, side in free:
        dim.dim_value = side
    del model.graph.value_info[:]
    for output in model.graph.output:
        for dim in output.type.tensor_type.shape.dim[1:]:
            if not dim.HasField("dim_value"):
                dim.Clear()
