"""The public names: removing one is a decision, not an accident."""

import subprocess
import sys

import pytest

import d2_data
import d2_data.conversion
import d2_data.datasets
import d2_data.formats
import d2_data.mixing
import d2_data.panoptic
import d2_data.preparation
import d2_data.samplers
import d2_data.transforms

PUBLIC = {
    d2_data: """
        AspectRatioGroupedDataset DatasetCatalog DatasetFromList DatasetMapper DetectionLoader
        MapDataset Metadata MetadataCatalog SharedStream build_detection_test_loader
        build_detection_train_loader get_detection_dataset_dicts load_proposals_into_dataset
        naming_lost_workers print_instances_class_histogram STALL_TIMEOUT guard_workers stopped_by
        shared_detection_dataset
    """,
    d2_data.conversion: """
        PLACEMENTS SOURCE_FORMATS TARGET_FORMATS YOLO_TASKS ConvertedSplit Split convert
        read_splits
    """,
    d2_data.datasets: """
        OutsideRoot coco_folder convert_to_coco_dict convert_to_coco_json get_lvis_instances_meta
        load_cityscapes_instances load_cityscapes_panoptic load_cityscapes_semantic load_coco_json
        load_coco_panoptic_json load_lvis_json load_sem_seg load_voc_instances load_yolo
        register_coco_instances register_coco_panoptic register_coco_panoptic_separated
        register_lvis_instances register_pascal_voc register_yolo
    """,
    d2_data.formats: """
        CocoFile coco_annotation decode_panoptic_png encode_panoptic_png mask_polygons
        panoptic_colors read_json read_label_map
    """,
    d2_data.mixing: """
        CopyPaste Mix MixUp MixingMapper Mosaic
    """,
    d2_data.panoptic: """
        PanopticDeepLabTargetGenerator PanopticDeeplabDatasetMapper
    """,
    d2_data.samplers: """
        InferenceSampler RandomSubsetTrainingSampler RepeatFactorTrainingSampler TrainingSampler
    """,
    d2_data.transforms: """
        AugInput Augmentation AugmentationList BlendTransform ColorAugSSD ColorTransform
        CropTransform ExtentTransform FixedSizeCrop GridSampleTransform HFlipTransform
        LargeScaleJitter NoOpTransform
        PILColorTransform PadTransform RandomApply RandomBrightness RandomContrast RandomCrop
        RandomCrop_CategoryAreaConstraint RandomExtent RandomFlip RandomLighting RandomRotation
        RandomSaturation Resize ResizeScale ResizeShortestEdge ResizeTransform
        RotationTransform ScaleTransform Transform TransformList VFlipTransform
    """,
}


@pytest.mark.parametrize("package", PUBLIC, ids=lambda package: package.__name__)
def test_public_names_are_as_listed(package):
    assert sorted(package.__all__) == sorted(PUBLIC[package].split())
    assert all(hasattr(package, name) for name in package.__all__)


def test_import_registers_nothing_and_loads_no_dataset():
    program = (
        "import sys, d2_data\n"
        "assert not d2_data.DatasetCatalog.data and not d2_data.MetadataCatalog.data\n"
        "assert 'd2_data.datasets.shapes' not in sys.modules\n"
        "assert d2_data.catalog.builtin_names.cache_info().currsize == 0\n"
        "assert 'matplotlib' not in sys.modules and 'torchvision' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
