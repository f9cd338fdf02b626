"""Datasets, augmentations, samplers and loaders for object detection."""

from d2_data.aspect_ratio_grouping import AspectRatioGroupedDataset
from d2_data.catalog import DatasetCatalog, Metadata, MetadataCatalog
from d2_data.dataset_dicts import (
    get_detection_dataset_dicts,
    print_instances_class_histogram,
)
from d2_data.dataset_mapper import DatasetMapper
from d2_data.detection_loader import DetectionLoader
from d2_data.list_dataset import DatasetFromList
from d2_data.loaders import build_detection_test_loader, build_detection_train_loader
from d2_data.loading_processes import STALL_TIMEOUT, guard_workers, stopped_by
from d2_data.lost_workers import naming_lost_workers
from d2_data.mapped_dataset import MapDataset
from d2_data.proposal_file import load_proposals_into_dataset
from d2_data.record_stream import SharedStream
from d2_data.shared_reading import shared_detection_dataset

__all__ = [
    "STALL_TIMEOUT",
    "AspectRatioGroupedDataset",
    "DatasetCatalog",
    "DatasetFromList",
    "DatasetMapper",
    "DetectionLoader",
    "MapDataset",
    "Metadata",
    "MetadataCatalog",
    "SharedStream",
    "build_detection_test_loader",
    "build_detection_train_loader",
    "get_detection_dataset_dicts",
    "guard_workers",
    "load_proposals_into_dataset",
    "naming_lost_workers",
    "print_instances_class_histogram",
    "shared_detection_dataset",
    "stopped_by",
]
