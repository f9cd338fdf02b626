"""Shapes datasets in the catalogs."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any, Literal

from d2_data.annotation_file import read_json
from d2_data.catalog import DatasetCatalog, MetadataCatalog
from d2_data.datasets.coco import load_coco_json
from d2_data.datasets.shapes.background import MATERIALS
from d2_data.datasets.shapes.files import FIRST_MATERIAL_ID, ShapesDataset, generate_shapes
from d2_data.datasets.shapes.geometry import CLASSES, KEYPOINTS
from d2_data.datasets_root import datasets_root

PanopticLayout = Literal["standard", "separated"]

_BUILTIN_SPLITS = {"train": (2000, 0), "val": (200, 1)}
"""Number of pictures and seed of each split."""

_CLASS_COLOURS = ((240, 228, 66), (0, 158, 115), (86, 180, 233), (213, 94, 0))
_CONNECTION_COLOURS = ((230, 25, 75), (60, 180, 75), (0, 130, 200), (245, 130, 48))


def register_shapes(
    name: str,
    root: str | os.PathLike[str],
    num_images: int | None = None,
    *,
    panoptic: PanopticLayout | None = None,
    **generation: Any,
) -> None:
    """Register a shapes dataset for detection, segmentation and keypoints.

    Nothing is read or generated before the samples are first asked for.

    Args:
        name: the name that identifies the dataset in the catalogs.
        root: folder of the dataset.
        num_images: when given, the dataset is generated there on first use; when not, it must
            be there.
        panoptic: also put semantic and panoptic labels into the samples. ``"standard"``: the
            semantic classes are the objects, then the materials, and ``pan_seg_file_name`` and
            ``segments_info`` are present. ``"separated"``: class 0 stands for every object and
            the materials follow, as Panoptic FPN wants it.
        **generation: further parameters of :func:`generate_shapes`; need ``num_images``.

    Raises:
        TypeError: for generation parameters without ``num_images``.
        ValueError: if the name is taken or ``panoptic`` has another value.
    """
    if panoptic not in (None, "standard", "separated"):
        raise ValueError(f"panoptic is None, 'standard' or 'separated', got {panoptic!r}")
    if num_images is None and generation:
        raise TypeError(
            f"register_shapes({name!r}, …): {', '.join(sorted(generation))} say how to generate "
            "the dataset; give num_images as well"
        )
    dataset = ShapesDataset(root)
    generate = (
        partial(generate_shapes, root, num_images, **generation) if num_images is not None else None
    )
    DatasetCatalog.register(name, partial(_load, dataset, name, panoptic, generate))
    MetadataCatalog.get(name).set(
        evaluator_type="coco" if panoptic is None else "coco_panoptic_seg",
        **_files(dataset, panoptic),
        **_vocabulary(panoptic),
    )


def register_builtin_shapes(name: str) -> None:
    """Register ``shapes_train`` or ``shapes_val`` below the folder of built-in datasets."""
    split = name.removeprefix("shapes_")
    num_images, seed = _BUILTIN_SPLITS[split]
    root = datasets_root().folder / "shapes" / split
    register_shapes(name, root, num_images, seed=seed)


def _load(
    dataset: ShapesDataset,
    name: str,
    panoptic: PanopticLayout | None,
    generate: partial[ShapesDataset] | None,
) -> list[dict[str, Any]]:
    if generate is not None:
        generate()
    samples = load_coco_json(dataset.instances_json, dataset.image_root, name)
    if panoptic is not None:
        semantic_root = dataset.semantic_root if panoptic == "standard" else dataset.stuff_root
        for sample in samples:
            sample["sem_seg_file_name"] = str(semantic_root / Path(sample["file_name"]).name)
    if panoptic == "standard":
        segments_of = {
            entry["image_id"]: entry
            for entry in read_json(dataset.panoptic_json, expected_keys=("annotations",))[
                "annotations"
            ]
        }
        for sample in samples:
            entry = segments_of[sample["image_id"]]
            sample["pan_seg_file_name"] = str(dataset.panoptic_root / entry["file_name"])
            sample["segments_info"] = [
                {
                    **segment,
                    "category_id": segment["category_id"] - 1,
                    "isthing": segment["category_id"] < FIRST_MATERIAL_ID,
                }
                for segment in entry["segments_info"]
            ]
    return samples


def _files(dataset: ShapesDataset, panoptic: PanopticLayout | None) -> dict[str, str]:
    files = {"json_file": str(dataset.instances_json), "image_root": str(dataset.image_root)}
    if panoptic is not None:
        semantic_root = dataset.semantic_root if panoptic == "standard" else dataset.stuff_root
        files |= {
            "sem_seg_root": str(semantic_root),
            "panoptic_root": str(dataset.panoptic_root),
            "panoptic_json": str(dataset.panoptic_json),
        }
    return files


def _vocabulary(panoptic: PanopticLayout | None) -> dict[str, Any]:
    things = {number: number - 1 for number in range(1, 1 + len(CLASSES))}
    vocabulary: dict[str, Any] = {
        "thing_classes": list(CLASSES),
        "thing_colors": list(_CLASS_COLOURS),
        "thing_dataset_id_to_contiguous_id": things,
        "keypoint_names": list(KEYPOINTS),
        "keypoint_flip_map": [("left", "right")],
        "keypoint_connection_rules": [
            (KEYPOINTS[0], other, colour)
            for other, colour in zip(KEYPOINTS[1:], _CONNECTION_COLOURS, strict=True)
        ],
    }
    materials = range(FIRST_MATERIAL_ID, FIRST_MATERIAL_ID + len(MATERIALS))
    if panoptic == "standard":
        vocabulary |= {
            "stuff_classes": [*CLASSES, *MATERIALS],
            "stuff_dataset_id_to_contiguous_id": {number: number - 1 for number in materials},
            "ignore_label": 255,
            "label_divisor": 1000,
        }
    elif panoptic == "separated":
        vocabulary |= {
            "stuff_classes": ["things", *MATERIALS],
            "stuff_dataset_id_to_contiguous_id": {
                number: index for index, number in enumerate((0, *materials))
            },
            "ignore_label": 255,
        }
    return vocabulary
