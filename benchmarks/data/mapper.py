"""Time DatasetMapper beside the same steps written plainly with Pillow and pycocotools.

The pictures are JPEGs of 579×492, resized to 800/1333 and mirrored, on one thread.

    PYTHONPATH=benchmarks python benchmarks/data/mapper.py
"""

import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _paired import measure_pairs, report
from PIL import Image
from pycocotools import mask as coco

from d2_data import DatasetMapper
from d2_data import transforms as T
from d2_data.datasets import load_coco_json
from d2_data.datasets.shapes import generate_shapes
from d2_structures import BitMasks, Boxes, Instances, PolygonMasks

COUNT, SIZE = 24, (492, 579)  # (height, width)


def photographs(folder: Path) -> list[dict[str, Any]]:
    """Scenes with polygons, kept as JPEG files."""
    made = generate_shapes(folder / "shapes", COUNT, image_size=SIZE)
    records = load_coco_json(made.instances_json, made.image_root)
    for record in records:
        source = Path(record["file_name"])
        record["file_name"] = str(source.with_suffix(".jpg"))
        with Image.open(source) as picture:
            picture.convert("RGB").save(record["file_name"], quality=90)
    return records


def plain_mapper(mask_format: str | None) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Read, resize and mirror one image, then its annotations one after the other."""

    def map_record(record: dict[str, Any]) -> dict[str, Any]:
        image = np.asarray(Image.open(record["file_name"]).convert("RGB"))[:, :, ::-1]
        h, w = image.shape[:2]
        new_h, new_w = T.ResizeShortestEdge.get_output_shape(h, w, 800, 1333)
        resized = Image.fromarray(np.ascontiguousarray(image)).resize(
            (new_w, new_h), Image.Resampling.BILINEAR
        )
        mirrored = np.asarray(resized)[:, ::-1]
        chw = torch.as_tensor(np.ascontiguousarray(mirrored.transpose(2, 0, 1)))
        target = Instances((new_h, new_w))
        boxes, polygons = [], []
        for annotation in record["annotations"]:
            x, y, width, height = annotation["bbox"]
            corners = np.array([x, y, x + width, y + height]) * ([new_w / w, new_h / h] * 2)
            boxes.append([new_w - corners[2], corners[1], new_w - corners[0], corners[3]])
            moved = []
            for polygon in annotation["segmentation"]:
                points = np.asarray(polygon).reshape(-1, 2) * [new_w / w, new_h / h]
                points[:, 0] = new_w - points[:, 0]
                moved.append(points.reshape(-1))
            polygons.append(moved)
        target.gt_boxes = Boxes(np.asarray(boxes, dtype=np.float32).reshape(-1, 4))
        target.gt_classes = torch.tensor([a["category_id"] for a in record["annotations"]])
        if mask_format == "polygon":
            target.gt_masks = PolygonMasks(polygons)
        elif mask_format == "bitmask":
            parts = [coco.frPyObjects([p.tolist() for p in m], new_h, new_w) for m in polygons]
            masks = np.stack([coco.decode(coco.merge(rles)).astype(bool) for rles in parts])
            target.gt_masks = BitMasks(torch.from_numpy(masks))
        return {"image": chw, "instances": target}

    return map_record


def ours(mask_format: str | None) -> DatasetMapper:
    return DatasetMapper(
        True,
        augmentations=[T.ResizeShortestEdge(800, 1333), T.RandomFlip(1.0)],
        image_format="BGR",
        use_instance_mask=mask_format is not None,
        instance_mask_format=mask_format or "polygon",
    )


def main() -> None:
    torch.set_num_threads(1)
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        records = photographs(Path(folder))
        formats = {"boxes": None, "polygons": "polygon", "bit masks": "bitmask"}
        for name, mask_format in formats.items():
            calls = []
            for mapper in (ours(mask_format), plain_mapper(mask_format)):
                following = itertools.cycle(records)
                calls.append(lambda mapper=mapper, following=following: mapper(next(following)))
            rows[name] = measure_pairs(*calls, rounds=200, seconds=10.0)
    report("data-mapper", rows, "plain Pillow", image=[*SIZE], resize="800/1333 and mirror")
    for name, row in rows.items():
        print(f"{name}: {1 / row.ours:.0f} images/s")


if __name__ == "__main__":
    main()
