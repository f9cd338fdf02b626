"""Time checking a dataset beside a script that looks for the same plainly.

The script opens every image for its size, hashes its file, measures every mask by pycocotools and
compares all edges of an outline (of 284 corners, on average) with each other. Images per second of
one core stand among the settings, for both.

    PYTHONPATH=benchmarks python benchmarks/data/check.py
"""

import hashlib
import json
import tempfile
import time
from pathlib import Path

import numpy as np
from _paired import measure_pairs, report
from PIL import Image
from pycocotools import mask as coco

from d2_data.checking import check_dataset
from d2_data.datasets.shapes import generate_shapes

COUNT, SIZE = 100, (480, 640)  # (height, width)


def photographs(folder: Path) -> Path:
    """Scenes with polygons, their pictures as JPEG files; returns the annotation file."""
    made = generate_shapes(folder / "shapes", COUNT, image_size=SIZE)
    content = json.loads(Path(made.instances_json).read_text())
    for image in content["images"]:
        source = Path(made.image_root) / image["file_name"]
        image["file_name"] = str(Path(image["file_name"]).with_suffix(".jpg"))
        with Image.open(source) as picture:
            picture.convert("RGB").save(source.with_suffix(".jpg"), quality=90)
    path = Path(made.image_root) / "annotations.json"
    path.write_text(json.dumps(content))
    return path


def crosses(polygon: list[float]) -> bool:
    """Whether two edges have the ends of each other on different sides."""
    points = np.reshape(polygon, (-1, 2))
    ends = np.roll(points, -1, axis=0)
    along, offset = (ends - points)[:, None], points[None] - points[:, None]
    side = np.sign(along[..., 0] * offset[..., 1] - along[..., 1] * offset[..., 0])
    separates = side * np.roll(side, -1, axis=1) < 0
    return bool((separates & separates.T).any())


def plain_check(path: Path, decode: bool) -> int:
    """How many images, masks, boxes and outlines are wrong."""
    content = json.loads(path.read_text())
    wrong, seen = 0, set()
    sizes = {image["id"]: (image["height"], image["width"]) for image in content["images"]}
    for image in content["images"]:
        file = path.parent / image["file_name"]
        digest = hashlib.md5(file.read_bytes()).digest()
        wrong += digest in seen
        seen.add(digest)
        with Image.open(file) as picture:
            if decode:
                picture.load()
            wrong += picture.size != (image["width"], image["height"])
    for annotation in content["annotations"]:
        rles = coco.frPyObjects(annotation["segmentation"], *sizes[annotation["image_id"]])
        wrong += coco.area(coco.merge(rles)) == 0
        x, y, width, height = annotation["bbox"]
        rows, columns = sizes[annotation["image_id"]]
        wrong += min(x, y, width, height) < 0 or x + width > columns or y + height > rows
        wrong += any(map(crosses, annotation["segmentation"]))
    return wrong


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = photographs(Path(folder))
        found = check_dataset(path)
        assert not found.has_errors
        rows = {}
        for name, decode in (("heads and annotations", False), ("decoding every image", True)):
            rows[name] = measure_pairs(
                lambda decode=decode: check_dataset(path, decode=decode),
                lambda decode=decode: plain_check(path, decode),
                rounds=3,
                clock=time.process_time,
            )
        rates = {
            f"images/s of one core, {name}": {
                "d2": round(COUNT / row.ours),
                "plain": round(COUNT / (row.peer or row.ours)),
            }
            for name, row in rows.items()
        }
        print(rates)
        report(
            "data-check",
            rows,
            "Pillow, pycocotools, NumPy",
            images=COUNT,
            objects=found.statistics.objects,
            image_size=SIZE,
            **rates,
        )


if __name__ == "__main__":
    main()
