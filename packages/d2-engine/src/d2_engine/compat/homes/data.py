"""``detectron2.data``."""

from d2_engine.compat.module_map import each, home

_LOADING = each(
    ".shims.loader_parts",
    "build_batch_data_loader",
    "trivial_batch_collator",
    "worker_init_reset_seed",
)
_STREAMS = each(".shims.iterable_datasets", "ToIterableDataset") | each(
    ".shims.loading", "AspectRatioGroupedDataset", "MapDataset"
)
_MAPPER = each(".shims.mappers", "DatasetMapper")
_LISTS = each(
    ".shims.list_serialization",
    "NumpySerializedList",
    "TorchSerializedList",
    "set_default_dataset_from_list_serialize_method",
)
_ARGUMENTS = each(
    ".shims.loader_arguments", "_test_loader_from_config", "_train_loader_from_config"
)
_ON_DEMAND = dict.fromkeys(
    (
        *("register_all_ade20k", "register_all_cityscapes", "register_all_coco"),
        *("register_all_lvis", "register_all_pascal_voc", "_PREDEFINED_SPLITS_COCO"),
    ),
    "the built-in datasets are registered when they are asked for, below $DETECTRON2_DATASETS; "
    "register others with register_coco_instances and the like",
)
_DICTS = each(
    ".shims.dataset_filters",
    "filter_images_with_few_keypoints",
    "filter_images_with_only_crowd_annotations",
)
_CHECKS = {"check_metadata_consistency": "d2_data.detection_utils:check_metadata_consistency"}
_AUGMENTATIONS = {
    "StandardAugInput": "d2_data.transforms:AugInput",
    "TransformGen": "d2_data.transforms:Augmentation",
} | each(
    ".shims.augmentation_calls",
    "_transform_to_aug",
    "apply_augmentations",
    "apply_transform_gens",
)
_META = each(
    ".shims.builtin_vocabularies",
    "ADE20K_SEM_SEG_CATEGORIES",
    "CITYSCAPES_CATEGORIES",
    "COCO_CATEGORIES",
    "COCO_PERSON_KEYPOINT_FLIP_MAP",
    "COCO_PERSON_KEYPOINT_NAMES",
    "KEYPOINT_CONNECTION_RULES",
    "_get_builtin_metadata",
    "_get_coco_instances_meta",
    "_get_coco_panoptic_separated_meta",
)
_TRANSFORMS = "d2_data.transforms"
_DATASETS = "d2_data.datasets"

MODULES = {
    "detectron2.data": home("d2_data", names=_LOADING | _STREAMS | _MAPPER),
    "detectron2.data.benchmark": home(names=each(".shims.loader_benchmark", "DataLoaderBenchmark")),
    "detectron2.data.build": home(
        *("d2_data", "d2_data.samplers"),
        names=_MAPPER | _LOADING | _STREAMS | _DICTS | _CHECKS | _ARGUMENTS,
    ),
    "detectron2.data.catalog": home("d2_data"),
    "detectron2.data.common": home("d2_data", names=_STREAMS | _LISTS),
    "detectron2.data.dataset_mapper": home("d2_data", names=_MAPPER),
    "detectron2.data.datasets": home(_DATASETS),
    "detectron2.data.datasets.builtin": home(names=_META, absent=_ON_DEMAND),
    "detectron2.data.datasets.builtin_meta": home(names=_META),
    "detectron2.data.datasets.cityscapes": home(_DATASETS),
    "detectron2.data.datasets.cityscapes_panoptic": home(_DATASETS),
    "detectron2.data.datasets.coco": home(_DATASETS),
    "detectron2.data.datasets.coco_panoptic": home(_DATASETS),
    "detectron2.data.datasets.lvis": home(_DATASETS),
    "detectron2.data.datasets.lvis_v0_5_categories": home(
        names={"LVIS_CATEGORIES": ".shims.builtin_vocabularies:LVIS_V0_5_CATEGORIES"}
    ),
    "detectron2.data.datasets.lvis_v1_categories": home(
        names={"LVIS_CATEGORIES": ".shims.builtin_vocabularies:LVIS_V1_CATEGORIES"}
    ),
    "detectron2.data.datasets.lvis_v1_category_image_count": home(
        names=each(".shims.builtin_vocabularies", "LVIS_CATEGORY_IMAGE_COUNT")
    ),
    "detectron2.data.datasets.pascal_voc": home(
        _DATASETS, names={"CLASS_NAMES": ".shims.builtin_vocabularies:PASCAL_VOC_CLASS_NAMES"}
    ),
    "detectron2.data.datasets.register_coco": home(_DATASETS),
    "detectron2.data.detection_utils": home(
        "d2_data.detection_utils",
        names={"build_transform_gen": "d2_data.detection_utils:build_augmentation"}
        | each(".shims.image_orientation", "_apply_exif_orientation"),
    ),
    "detectron2.data.samplers": home(
        "d2_data.samplers", names=each(".shims.grouped_batches", "GroupedBatchSampler")
    ),
    "detectron2.data.samplers.distributed_sampler": home("d2_data.samplers"),
    "detectron2.data.samplers.grouped_batch_sampler": home(
        names=each(".shims.grouped_batches", "GroupedBatchSampler")
    ),
    "detectron2.data.transforms": home(_TRANSFORMS, names=_AUGMENTATIONS),
    "detectron2.data.transforms.augmentation": home(_TRANSFORMS, names=_AUGMENTATIONS),
    "detectron2.data.transforms.augmentation_impl": home(_TRANSFORMS),
    "detectron2.data.transforms.transform": home(_TRANSFORMS),
}
