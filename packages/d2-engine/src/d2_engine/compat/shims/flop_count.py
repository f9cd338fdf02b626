"""Operations of a model in one call, as fvcore counts them."""

from typing import Any

from torch import nn

from d2_engine.compat.shims.operator_counts import FlopCountAnalysis


def flop_count(model: nn.Module, inputs: Any, supported_ops: Any = None) -> tuple[Any, Any]:
    """10⁹ operations by operator, and how often operators were met that are not counted."""
    analysis = FlopCountAnalysis(model, inputs)
    if supported_ops:
        analysis.set_op_handle(**supported_ops)
    counted = {name: count / 1e9 for name, count in analysis.by_operator().items()}
    return counted, analysis.unsupported_ops()
