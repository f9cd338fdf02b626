"""A check of strides that d2's FPN makes within its constructor."""

from collections.abc import Sequence
from itertools import pairwise


def _assert_strides_are_log2_contiguous(strides: Sequence[int]) -> None:
    """Refuse strides that are not each twice the one before."""
    for finer, coarser in pairwise(strides):
        assert coarser == 2 * finer, f"strides {finer} and {coarser} are not contiguous powers of 2"
