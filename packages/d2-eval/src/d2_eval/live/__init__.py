"""Lines at the lower edge of the terminal that change in place, and progress bars made of them."""

from d2_eval.live.bars import ProgressBar, progress
from d2_eval.live.display import LiveLine
from d2_eval.live.layout import Fact, LineContent

__all__ = ["Fact", "LineContent", "LiveLine", "ProgressBar", "progress"]
