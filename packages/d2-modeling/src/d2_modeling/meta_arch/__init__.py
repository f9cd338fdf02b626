"""Complete models."""

from .build import META_ARCH_REGISTRY, build_model
from .rcnn import GeneralizedRCNN, ProposalNetwork
from .retinanet import RetinaNet
from .retinanet_head import RetinaNetHead

__all__ = [
    "META_ARCH_REGISTRY",
    "GeneralizedRCNN",
    "ProposalNetwork",
    "RetinaNet",
    "RetinaNetHead",
    "build_model",
]
