"""Datasets, augmentations, samplers and loaders for object detection."""

from d2_data.catalog import DatasetCatalog, Metadata, MetadataCatalog

__all__ = ["DatasetCatalog", "Metadata", "MetadataCatalog"]
