"""Lists of categories that detectron2 holds as Python literals; d2 has them as metadata."""

from typing import Any

from d2_data import MetadataCatalog

_FREQUENT, _COMMON = 100, 10
"""LVIS: more images than these make a category frequent or common."""


def _metadata(dataset: str) -> dict[str, Any]:
    return dict(MetadataCatalog.get(dataset).as_dict())


def _panoptic_categories(dataset: str) -> list[dict[str, Any]]:
    """Categories by their ids in the files, objects and materials in one list."""
    known = _metadata(dataset)
    names, colors = known["stuff_classes"], known["stuff_colors"]
    kinds = (("thing_dataset_id_to_contiguous_id", 1), ("stuff_dataset_id_to_contiguous_id", 0))
    categories = [
        {
            "color": list(colors[number]),
            "isthing": isthing,
            "id": file_id,
            "name": names[number],
            "trainId": number,
        }
        for key, isthing in kinds
        for file_id, number in known[key].items()
    ]
    return sorted(categories, key=lambda category: category["trainId"])


def _without_train_ids(categories: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in category.items() if k != "trainId"} for category in categories]


def _lvis_categories(dataset: str) -> list[dict[str, Any]]:
    known = _metadata(dataset)
    counts = {entry["id"]: entry["image_count"] for entry in known.get("class_image_count", [])}
    categories = []
    for number, name in enumerate(known["thing_classes"], start=1):
        category: dict[str, Any] = {"id": number, "name": name, "synonyms": [name]}
        if number in counts:
            count = counts[number]
            frequency = "f" if count > _FREQUENT else "c" if count > _COMMON else "r"
            category |= {"image_count": count, "frequency": frequency}
        categories.append(category)
    return categories


def _get_coco_instances_meta() -> dict[str, Any]:
    """Names, colours and ids of COCO's 80 objects."""
    return _get_builtin_metadata("coco")


def _get_coco_panoptic_separated_meta() -> dict[str, Any]:
    """Names, colours and ids of COCO's objects, and of its materials with the objects as one."""
    return _get_builtin_metadata("coco_panoptic_separated")


_DATASETS = {
    "coco": "coco_2017_val",
    "coco_person": "keypoints_coco_2017_val",
    "coco_panoptic_standard": "coco_2017_val_panoptic",
    "coco_panoptic_separated": "coco_2017_val_panoptic_separated",
    "cityscapes": "cityscapes_fine_sem_seg_val",
}
_SHARED = ("thing_", "stuff_", "keypoint_")


def _get_builtin_metadata(dataset_name: str) -> dict[str, Any]:
    """The metadata that a family of built-in datasets shares.

    Raises:
        KeyError: if there is no such family.
    """
    if dataset_name not in _DATASETS:
        raise KeyError(f"no built-in metadata for {dataset_name!r}, only for {sorted(_DATASETS)}")
    known = _metadata(_DATASETS[dataset_name])
    return {key: value for key, value in known.items() if key.startswith(_SHARED)}


_PERSON = _metadata("keypoints_coco_2017_val")

COCO_CATEGORIES = _without_train_ids(_panoptic_categories("coco_2017_val_panoptic"))
CITYSCAPES_CATEGORIES = _panoptic_categories("cityscapes_fine_panoptic_val")
ADE20K_SEM_SEG_CATEGORIES = list(_metadata("ade20k_sem_seg_val")["stuff_classes"])
COCO_PERSON_KEYPOINT_NAMES = _PERSON["keypoint_names"]
COCO_PERSON_KEYPOINT_FLIP_MAP = _PERSON["keypoint_flip_map"]
KEYPOINT_CONNECTION_RULES = _PERSON["keypoint_connection_rules"]
LVIS_V1_CATEGORIES = _lvis_categories("lvis_v1_val")
LVIS_V0_5_CATEGORIES = _lvis_categories("lvis_v0.5_val")
LVIS_CATEGORY_IMAGE_COUNT = _metadata("lvis_v1_val")["class_image_count"]
PASCAL_VOC_CLASS_NAMES = tuple(_metadata("voc_2007_train")["thing_classes"])
