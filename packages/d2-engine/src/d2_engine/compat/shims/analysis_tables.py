"""A table of operations, as fvcore prints it."""

from collections import Counter
from typing import Any

from torch import nn

from d2_engine.compat.shims.operator_counts import FlopCountAnalysis
from d2_modeling.analysis import parameter_count


def flop_count_table(
    flops: Any,
    max_depth: int = 3,
    activations: Any = None,
    show_param_shapes: bool = True,
) -> str:
    """The floating-point operations and parameters of a model's modules as text.

    Args:
        flops: a `FlopCountAnalysis`.
        max_depth: how deep modules are listed.
        activations: an analysis of activations, for one more column.
        show_param_shapes: accepted; shapes are those of ``parameter_count_table``.
    """
    parameters = parameter_count(flops.model)
    lines = ["module | #parameters | #flops" + (" | #activations" if activations else "")]
    counted = flops.by_module()
    active = activations.by_module() if activations else Counter()
    for name in counted:
        if name.count(".") + bool(name) > max_depth:
            continue
        row = [name or "model", str(parameters[name]), str(int(counted[name]))]
        if activations:
            row.append(str(int(active[name])))
        lines.append(" | ".join(row))
    return "\n".join(lines)


def flop_count(model: nn.Module, inputs: Any, supported_ops: Any = None) -> tuple[Any, Any]:
    """10⁹ operations by operator, and how often operators were met that are not counted."""
    analysis = FlopCountAnalysis(model, inputs)
    if supported_ops:
        analysis.set_op_handle(**supported_ops)
    counted = {name: count / 1e9 for name, count in analysis.by_operator().items()}
    return counted, analysis.unsupported_ops()
