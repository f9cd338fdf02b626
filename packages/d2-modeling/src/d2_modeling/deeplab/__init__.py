"""DeepLab v3 and v3+: semantic segmentation by atrous convolution.

Source: Chen et al., "Rethinking Atrous Convolution for Semantic Image Segmentation", 2017, and
"Encoder-Decoder with Atrous Separable Convolution", 2018.
"""

from ..backbone.resnet_deeplab import DeepLabStem, build_resnet_deeplab_backbone
from .config import add_deeplab_config
from .heads import DeepLabV3Head, DeepLabV3PlusHead
from .losses import DeepLabCE

__all__ = [
    "DeepLabCE",
    "DeepLabStem",
    "DeepLabV3Head",
    "DeepLabV3PlusHead",
    "add_deeplab_config",
    "build_resnet_deeplab_backbone",
]
