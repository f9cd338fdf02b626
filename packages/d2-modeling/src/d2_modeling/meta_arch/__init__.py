"""Complete models."""

from .build import META_ARCH_REGISTRY
from .rcnn import GeneralizedRCNN, ProposalNetwork

__all__ = ["META_ARCH_REGISTRY", "GeneralizedRCNN", "ProposalNetwork"]
