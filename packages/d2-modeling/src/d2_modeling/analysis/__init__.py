"""What a model costs: parameters, multiply-adds and activations, by module and by operator."""

from .flops import (
    ActivationCountAnalysis,
    FlopCountAnalysis,
    activation_count_operators,
    flop_count_operators,
)
from .operator_counts import Handle, OperatorCountAnalysis
from .parameters import parameter_count
from .tables import flop_count_str, flop_count_table, parameter_count_table

__all__ = [
    "ActivationCountAnalysis",
    "FlopCountAnalysis",
    "Handle",
    "OperatorCountAnalysis",
    "activation_count_operators",
    "flop_count_operators",
    "flop_count_str",
    "flop_count_table",
    "parameter_count",
    "parameter_count_table",
]
