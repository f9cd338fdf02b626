"""Detect in several versions of an image, and merge what was found."""

from d2_engine.test_time_augmentation.detector import GeneralizedRCNNWithTTA
from d2_engine.test_time_augmentation.mapper import DatasetMapperTTA

__all__ = ["DatasetMapperTTA", "GeneralizedRCNNWithTTA"]
