"""Shapes datasets on disk: generated once, written in COCO's formats, reused afterwards."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import shutil
import tempfile
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from PIL import Image

from d2_data.datasets.shapes.background import MATERIALS
from d2_data.datasets.shapes.geometry import CLASSES, KEYPOINTS
from d2_data.datasets.shapes.scene import Scene, SceneObject, SceneRecipe, draw_scene
from d2_data.formats import CocoFile, mask_polygons, panoptic_colors

GENERATOR_VERSION = 1
"""Raised whenever the same parameters would give other bytes than before."""

FIRST_MATERIAL_ID = 1 + len(CLASSES)
"""COCO category id of the first material; objects have the ids 1 to 4."""

_PARAMETERS_FILE = "shapes.json"


@attrs.frozen
class ShapesDataset:
    """Where the parts of one generated dataset lie.

    Attributes:
        root: the folder that holds everything.
    """

    root: Path = attrs.field(converter=Path)

    @property
    def image_root(self) -> Path:
        """RGB pictures, PNG."""
        return self.root / "images"

    @property
    def instances_json(self) -> Path:
        """Boxes, polygons and keypoints in COCO's format."""
        return self.root / "instances.json"

    @property
    def semantic_root(self) -> Path:
        """Per picture a PNG of class ids: 0–3 objects, 4–6 materials."""
        return self.root / "semantic"

    @property
    def stuff_root(self) -> Path:
        """Per picture a PNG of class ids: 0 any object, 1–3 materials (Panoptic FPN's layout)."""
        return self.root / "stuff"

    @property
    def panoptic_root(self) -> Path:
        """Per picture a PNG whose pixels encode segment ids as R + 256 G + 65536 B."""
        return self.root / "panoptic"

    @property
    def panoptic_json(self) -> Path:
        """Segments in COCO's panoptic format."""
        return self.root / "panoptic.json"


def generate_shapes(
    output_dir: str | os.PathLike[str],
    num_images: int,
    *,
    image_size: int | tuple[int, int] = (128, 128),
    seed: int = 0,
    objects_per_image: tuple[int, int] = (2, 6),
    object_size: tuple[float, float] = (0.18, 0.6),
    num_workers: int = 0,
) -> ShapesDataset:
    """Write a dataset of pictures of ellipses, triangles, rectangles and stars, or find it there.

    Objects cover each other and stand on cluttered backgrounds. Everything annotated is the
    visible part: masks, boxes and areas are those of the pixels that an object covers at least
    half and that no object in front of it covers. Polygons follow the pixel edges and rasterise
    to exactly these masks. Too hidden objects are not drawn at all, so no object lacks its
    annotation. Keypoints are the centre and the four extreme points of the whole outline, seen
    or covered.

    Picture number i depends on ``seed``, i and the parameters only: not on ``num_images``, the
    order, or the number of workers. The folder appears complete or not at all.

    Args:
        output_dir: folder to write; a complete dataset with the same parameters is left as it is.
        num_images: how many pictures, at least 1.
        image_size: (height, width) in pixels, or one number for squares.
        seed: non-negative; different seeds give unrelated pictures.
        objects_per_image: least and most objects that are placed.
        object_size: least and most diameter relative to the shorter image side.
        num_workers: processes that draw; 0 draws in this one.

    Raises:
        ValueError: for parameters out of range, or if the folder holds a shapes dataset of other
            parameters.
        FileExistsError: if the folder holds something else.
    """
    if num_images < 1:
        raise ValueError(f"num_images is at least 1, got {num_images}")
    if seed < 0:
        raise ValueError(f"seed is not negative, got {seed}")
    if num_workers < 0:
        raise ValueError(f"num_workers is not negative, got {num_workers}")
    recipe = SceneRecipe(
        (image_size, image_size) if isinstance(image_size, int) else image_size,
        objects_per_image,
        object_size,
    )
    parameters = {
        "generator_version": GENERATOR_VERSION,
        "num_images": num_images,
        "seed": seed,
        **{key: list(value) for key, value in attrs.asdict(recipe).items()},
    }
    dataset = ShapesDataset(output_dir)
    if _is_complete(dataset, parameters):
        return dataset
    dataset.root.parent.mkdir(parents=True, exist_ok=True)
    draft = ShapesDataset(
        tempfile.mkdtemp(prefix=f".{dataset.root.name}-", dir=dataset.root.parent)
    )
    try:
        _write(draft, recipe, num_images, seed, num_workers)
        (draft.root / _PARAMETERS_FILE).write_text(json.dumps(parameters, indent=1) + "\n")
        draft.root.chmod(0o755)  # temporary folders are private
        _publish(draft, dataset, parameters)
    finally:
        shutil.rmtree(draft.root, ignore_errors=True)
    return dataset


def _is_complete(dataset: ShapesDataset, parameters: dict[str, Any]) -> bool:
    """Whether the folder holds this very dataset; an error if it holds another or anything else."""
    try:
        found = json.loads((dataset.root / _PARAMETERS_FILE).read_text())
    except FileNotFoundError:
        if dataset.root.exists() and (not dataset.root.is_dir() or any(dataset.root.iterdir())):
            raise FileExistsError(
                f"{dataset.root} exists and is no shapes dataset (it has no {_PARAMETERS_FILE}); "
                "give another output_dir"
            ) from None
        return False
    if found != parameters:
        changes = ", ".join(
            f"{key} {found.get(key)} instead of {parameters.get(key)}"
            for key in sorted(found.keys() | parameters.keys())
            if found.get(key) != parameters.get(key)
        )
        raise ValueError(
            f"{dataset.root} holds a shapes dataset of other parameters: {changes}; "
            "give another output_dir or delete that folder"
        )
    return True


def _publish(draft: ShapesDataset, dataset: ShapesDataset, parameters: dict[str, Any]) -> None:
    try:
        os.replace(draft.root, dataset.root)
    except OSError:
        # Another process may have published the same dataset meanwhile.
        if not _is_complete(dataset, parameters):
            raise


def _write(
    dataset: ShapesDataset, recipe: SceneRecipe, num_images: int, seed: int, num_workers: int
) -> None:
    for folder in (
        dataset.image_root,
        dataset.semantic_root,
        dataset.stuff_root,
        dataset.panoptic_root,
    ):
        folder.mkdir()
    draw = partial(_write_picture, dataset, recipe, seed)
    indices = range(num_images)
    if num_workers == 0:
        records = [draw(index) for index in indices]
    else:
        # A forked child could inherit a lock that another thread holds.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(num_workers, mp_context=context) as pool:
            chunk = max(1, math.ceil(num_images / (8 * num_workers)))
            records = list(pool.map(draw, indices, chunksize=chunk))
    _write_annotations(dataset, records)


def _write_annotations(dataset: ShapesDataset, records: list[dict[str, Any]]) -> None:
    info = {"description": "d2 shapes", "version": str(GENERATOR_VERSION)}
    objects = [
        {
            "id": class_id,
            "name": name,
            "supercategory": "shape",
            "keypoints": list(KEYPOINTS),
            "skeleton": [[1, other] for other in range(2, 1 + len(KEYPOINTS))],
        }
        for class_id, name in enumerate(CLASSES, start=1)
    ]
    instances = CocoFile(objects, info)
    panoptic = CocoFile(panoptic_categories(), info)
    for record in records:
        for file in (instances, panoptic):
            image_id = file.add_image(record["file_name"], record["image_size"])
        for category_id, entries in record["annotations"]:
            instances.add_annotation(image_id, category_id, entries)
        panoptic.add_segments(image_id, record["file_name"], record["segments"])
    instances.write(dataset.instances_json)
    panoptic.write(dataset.panoptic_json)


def panoptic_categories() -> list[dict[str, Any]]:
    """COCO panoptic categories: objects with ids 1–4, materials with ids 5–7."""
    things = [
        {"id": number, "name": name, "supercategory": "shape", "isthing": 1}
        for number, name in enumerate(CLASSES, start=1)
    ]
    stuff = [
        {"id": number, "name": name, "supercategory": "material", "isthing": 0}
        for number, name in enumerate(MATERIALS, start=FIRST_MATERIAL_ID)
    ]
    return things + stuff


def _write_picture(
    dataset: ShapesDataset, recipe: SceneRecipe, seed: int, index: int
) -> dict[str, Any]:
    """Draw and write picture ``index``; return its share of the annotation files."""
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index,)))
    scene = draw_scene(rng, recipe)
    file_name = f"{index:06d}.png"
    _save_png(scene.image, dataset.image_root / file_name)
    semantic = scene.materials + np.uint8(len(CLASSES))
    stuff = scene.materials + np.uint8(1)
    for item in scene.objects:
        semantic[item.mask] = item.class_id
        stuff[item.mask] = 0
    _save_png(semantic, dataset.semantic_root / file_name)
    _save_png(stuff, dataset.stuff_root / file_name)
    return {
        "file_name": file_name,
        "image_size": recipe.image_size,
        "annotations": [(1 + item.class_id, _annotation(item)) for item in scene.objects],
        "segments": _write_panoptic(scene, dataset.panoptic_root / file_name),
    }


def _annotation(item: SceneObject) -> dict[str, Any]:
    keypoints = item.keypoints.copy()
    labelled = keypoints[:, 2] > 0
    keypoints[labelled, :2] -= 0.5  # COCO's keypoints are pixel indices
    return {
        "iscrowd": 0,
        "bbox": _box_xywh(item.mask),
        "area": int(np.count_nonzero(item.mask)),
        "segmentation": mask_polygons(item.mask),
        "num_keypoints": int(np.count_nonzero(labelled)),
        "keypoints": [
            value for x, y, v in keypoints.tolist() for value in (round(x, 3), round(y, 3), int(v))
        ],
    }


def _write_panoptic(scene: Scene, path: Path) -> list[dict[str, Any]]:
    segment_ids = FIRST_MATERIAL_ID + scene.materials.astype(np.int32)
    first_object_id = FIRST_MATERIAL_ID + len(MATERIALS)
    for number, item in enumerate(scene.objects):
        segment_ids[item.mask] = first_object_id + number
    segments = []
    for segment_id in np.unique(segment_ids).tolist():
        mask = segment_ids == segment_id
        is_object = segment_id >= first_object_id
        segments.append(
            {
                "id": segment_id,
                "category_id": 1 + scene.objects[segment_id - first_object_id].class_id
                if is_object
                else segment_id,
                "area": int(np.count_nonzero(mask)),
                "bbox": _box_xywh(mask),
                "iscrowd": 0,
            }
        )
    _save_png(panoptic_colors(segment_ids), path)
    return segments


def _box_xywh(mask: np.ndarray) -> list[int]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    x, y = int(columns[0]), int(rows[0])
    return [x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y]


def _save_png(pixels: np.ndarray, path: Path) -> None:
    Image.fromarray(pixels).save(path, compress_level=1)
