"""Complete models."""

from ..dense import DenseDetector, FCOSHead, RetinaNetHead
from .build import META_ARCH_REGISTRY, build_model
from .fcos import FCOS
from .panoptic_fpn import PanopticFPN
from .panoptic_merging import combine_semantic_and_instance_outputs
from .rcnn import GeneralizedRCNN, ProposalNetwork
from .retinanet import RetinaNet
from .sem_seg_head import SEM_SEG_HEADS_REGISTRY, SemSegFPNHead, build_sem_seg_head
from .semantic_segmentor import SemanticSegmentor

__all__ = [
    "FCOS",
    "META_ARCH_REGISTRY",
    "SEM_SEG_HEADS_REGISTRY",
    "DenseDetector",
    "FCOSHead",
    "GeneralizedRCNN",
    "PanopticFPN",
    "ProposalNetwork",
    "RetinaNet",
    "RetinaNetHead",
    "SemSegFPNHead",
    "SemanticSegmentor",
    "build_model",
    "build_sem_seg_head",
    "combine_semantic_and_instance_outputs",
]
