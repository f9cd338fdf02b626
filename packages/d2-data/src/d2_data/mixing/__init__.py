"""Augmentation that makes one sample of several: mosaic, mix-up, copy-paste."""

from d2_data.mixing.copy_paste import CopyPaste
from d2_data.mixing.mapper import MixingMapper
from d2_data.mixing.mix import Mix
from d2_data.mixing.mixup import MixUp
from d2_data.mixing.mosaic import Mosaic

__all__ = ["CopyPaste", "Mix", "MixUp", "MixingMapper", "Mosaic"]
