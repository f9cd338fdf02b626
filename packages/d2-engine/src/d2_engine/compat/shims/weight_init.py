"""Initialisation by fvcore's names."""

from d2_modeling.layers import msra_fill, xavier_fill

__all__ = ["c2_msra_fill", "c2_xavier_fill"]

c2_msra_fill = msra_fill
c2_xavier_fill = xavier_fill
