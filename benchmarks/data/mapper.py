"""Time DatasetMapper beside detectron2's documented pipeline, rebuilt from Pillow and pycocotools.

Photographs of 640×480 with seven objects each, resized to 800/1333 and mirrored half of the time as
the default configuration has it; one thread, processor time, both called in turn. Pixels are the
original's to the bit, but for the row of ``reduced_decoding``.

    PYTHONPATH=benchmarks python benchmarks/data/mapper.py [--images FOLDER]
"""

import argparse
import copy
import itertools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _paired import Paired, measure_pairs, report
from PIL import Image, ImageFilter, ImageOps
from pycocotools import mask as coco

from d2_data import DatasetMapper
from d2_data import transforms as T
from d2_data.jpeg_files import simplejpeg
from d2_structures import BitMasks, Boxes, BoxMode, Instances, PolygonMasks

coin = np.random.default_rng(0)
COUNT, SIZE, OBJECTS = 24, (480, 640), 7
SHORT_EDGE, LONG_EDGE = 800, 1333


def made_photograph(draw: np.random.Generator) -> Image.Image:
    """Soft shapes, edges and grain, which as a JPEG is about as large as a photograph."""
    h, w = SIZE
    coarse = Image.fromarray(draw.integers(0, 256, (9, 12, 3), dtype=np.uint8))
    picture = coarse.resize((w, h), Image.Resampling.BICUBIC)
    detail = Image.fromarray(draw.integers(0, 256, (h // 6, w // 6, 3), dtype=np.uint8))
    sharp = detail.resize((w, h), Image.Resampling.NEAREST).filter(ImageFilter.GaussianBlur(2))
    picture = Image.blend(picture, sharp, 0.35)
    grain = Image.fromarray(draw.integers(0, 256, (h, w, 3), dtype=np.uint8))
    return Image.blend(picture, grain, 0.06)


def photographs(folder: Path, source: Path | None) -> list[str]:
    """JPEG files of one size, made or cut from a folder of pictures."""
    files = sorted(source.glob("*.jpg"))[:COUNT] if source else []
    draw = np.random.default_rng(0)
    names = []
    for number in range(len(files) or COUNT):
        if files:
            with Image.open(files[number]) as picture:
                made = ImageOps.fit(picture.convert("RGB"), SIZE[::-1])
        else:
            made = made_photograph(draw)
        names.append(str(folder / f"{number}.jpg"))
        made.save(names[-1], quality=90)
    return names


def annotations(draw: np.random.Generator, *, rle: bool) -> list[dict[str, Any]]:
    """Outlines of twenty points, as large as COCO's objects are."""
    h, w = SIZE
    made = []
    for number in range(OBJECTS):
        radius = draw.lognormal(3.7, 0.7)
        centre = draw.uniform([0, 0], [w, h])
        angles = np.linspace(0, 2 * np.pi, 20, endpoint=False)
        radii = radius * draw.uniform(0.6, 1.2, 20)
        outline = centre + np.stack([np.cos(angles), np.sin(angles)], axis=1) * radii[:, None]
        outline = np.clip(outline, 0, [w, h]).round(2)
        low, high = outline.min(axis=0), outline.max(axis=0)
        segmentation: Any = [outline.reshape(-1).tolist()]
        if rle:
            segmentation = coco.merge(coco.frPyObjects(segmentation, h, w))
        made.append(
            {
                "iscrowd": 0,
                "bbox": [*low.tolist(), *(high - low).tolist()],
                "bbox_mode": BoxMode.XYWH_ABS,
                "category_id": number % 5,
                "segmentation": segmentation,
            }
        )
    return made


class Resize:
    """The step of the original pipeline: Pillow for images and masks."""

    def __init__(self, h: int, w: int, new_h: int, new_w: int) -> None:
        self.size, self.scale = (new_w, new_h), (new_w / w, new_h / h)

    def apply_image(self, image: np.ndarray, method: int = Image.Resampling.BILINEAR) -> np.ndarray:
        return np.asarray(Image.fromarray(image).resize(self.size, method))

    def apply_segmentation(self, mask: np.ndarray) -> np.ndarray:
        return self.apply_image(mask, Image.Resampling.NEAREST)

    def apply_coords(self, points: np.ndarray) -> np.ndarray:
        points[:, 0] = points[:, 0] * self.scale[0]
        points[:, 1] = points[:, 1] * self.scale[1]
        return points


class Mirror:
    """The step of the original pipeline: a view."""

    def __init__(self, width: int) -> None:
        self.width = width

    def apply_image(self, image: np.ndarray) -> np.ndarray:
        return np.flip(image, axis=1)

    apply_segmentation = apply_image

    def apply_coords(self, points: np.ndarray) -> np.ndarray:
        points[:, 0] = self.width - points[:, 0]
        return points


def original_mapper(
    *, mask_format: str | None, short_edge: int = SHORT_EDGE, is_train: bool = True
) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """What the documentation says that the default mapper does, step by step."""

    def moved(annotation: dict[str, Any], steps: list[Any], size: tuple[int, int]) -> Any:
        box = BoxMode.convert(annotation["bbox"], annotation["bbox_mode"], BoxMode.XYXY_ABS)
        corners = np.asarray([box]).reshape(-1, 4)[:, [0, 1, 2, 1, 0, 3, 2, 3]].reshape(-1, 2)
        for step in steps:
            corners = step.apply_coords(corners)
        corners = corners.reshape(-1, 4, 2)
        box = np.concatenate((corners.min(axis=1), corners.max(axis=1)), axis=1)[0].clip(min=0)
        annotation["bbox"] = np.minimum(box, [*size, *size][::-1])
        annotation["bbox_mode"] = BoxMode.XYXY_ABS
        if mask_format is None:
            return annotation
        segmentation = annotation["segmentation"]
        if isinstance(segmentation, list):
            polygons = [np.asarray(points).reshape(-1, 2) for points in segmentation]
            for step in steps:
                polygons = [step.apply_coords(polygon) for polygon in polygons]
            annotation["segmentation"] = [polygon.reshape(-1) for polygon in polygons]
        else:
            mask = coco.decode(segmentation)
            for step in steps:
                mask = step.apply_segmentation(mask)
            annotation["segmentation"] = mask
        return annotation

    def bit_mask(segmentation: Any, size: tuple[int, int]) -> torch.Tensor:
        if isinstance(segmentation, list):
            parts = coco.frPyObjects([points.tolist() for points in segmentation], *size)
            segmentation = coco.decode(coco.merge(parts)).astype(bool)
        return torch.from_numpy(np.array(segmentation))

    def map_record(record: dict[str, Any]) -> dict[str, Any]:
        record = copy.deepcopy(record)
        with open(record["file_name"], "rb") as file:
            picture = ImageOps.exif_transpose(Image.open(file))
            image = np.asarray(picture.convert("RGB"))[:, :, ::-1]
        h, w = image.shape[:2]
        assert (h, w) == (record["height"], record["width"])
        new_h, new_w = T.ResizeShortestEdge.get_output_shape(h, w, short_edge, LONG_EDGE)
        steps: list[Any] = [Resize(h, w, new_h, new_w)]
        if is_train and coin.random() < 0.5:
            steps.append(Mirror(new_w))
        for step in steps:
            image = step.apply_image(image)
        record["image"] = torch.as_tensor(np.ascontiguousarray(image.transpose(2, 0, 1)))
        if not is_train:
            del record["annotations"]
            return record
        size = (new_h, new_w)
        objects = [moved(a, steps, size) for a in record.pop("annotations") if not a["iscrowd"]]
        target = Instances(size)
        boxes = [BoxMode.convert(a["bbox"], a["bbox_mode"], BoxMode.XYXY_ABS) for a in objects]
        target.gt_boxes = Boxes(np.stack(boxes))
        target.gt_classes = torch.tensor([a["category_id"] for a in objects], dtype=torch.int64)
        kept = target.gt_boxes.nonempty(threshold=1e-5)
        if mask_format == "polygon":
            target.gt_masks = PolygonMasks([a["segmentation"] for a in objects])
        elif mask_format == "bitmask":
            masks = [bit_mask(a["segmentation"], size).bool() for a in objects]
            target.gt_masks = BitMasks(torch.stack(masks))
        if mask_format is not None:
            kept = kept & target.gt_masks.nonempty()
        record["instances"] = target[kept]
        return record

    return map_record


def our_mapper(
    *, mask_format: str | None, short_edge: int = SHORT_EDGE, is_train: bool = True, **options: Any
) -> DatasetMapper:
    resize = T.ResizeShortestEdge((short_edge,), LONG_EDGE, "choice")
    return DatasetMapper(
        is_train,
        augmentations=[resize, T.RandomFlip()] if is_train else [resize],
        image_format="BGR",
        use_instance_mask=mask_format is not None,
        instance_mask_format=mask_format or "polygon",
        **options,
    )


def paired(
    ours: Callable[[Any], Any], peer: Callable[[Any], Any], records: list[dict[str, Any]]
) -> Paired:
    calls = []
    for mapper in (ours, peer):
        following = itertools.cycle(records)
        calls.append(lambda mapper=mapper, following=following: mapper(next(following)))
    return measure_pairs(*calls, rounds=400, seconds=12.0, clock=time.process_time)


def records(names: list[str], *, rle: bool) -> list[dict[str, Any]]:
    draw = np.random.default_rng(1)
    h, w = SIZE
    return [
        {
            "file_name": name,
            "height": h,
            "width": w,
            "image_id": number,
            "annotations": annotations(draw, rle=rle),
        }
        for number, name in enumerate(names)
    ]


def measure(names: list[str]) -> dict[str, Paired]:
    of_polygons, of_rles = records(names, rle=False), records(names, rle=True)
    rows = {}
    for name, data, settings in (
        ("boxes", of_polygons, {"mask_format": None}),
        ("polygons", of_polygons, {"mask_format": "polygon"}),
        ("bit masks of polygons", of_polygons, {"mask_format": "bitmask"}),
        ("bit masks of run lengths", of_rles, {"mask_format": "bitmask"}),
        ("polygons, shrunk to 240", of_polygons, {"mask_format": "polygon", "short_edge": 240}),
    ):
        peer = original_mapper(**settings)
        rows[name] = paired(our_mapper(**settings), peer, data)
    # The last of them once more: only where an image is shrunk, fewer pixels can be decoded.
    rows[f"{name}, reduced"] = paired(our_mapper(**settings, reduced_decoding=True), peer, data)
    inference = {"mask_format": None, "is_train": False}
    ours, peer = our_mapper(**inference), original_mapper(**inference)
    rows["inference"] = paired(ours, peer, of_polygons)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, help="folder of JPEG files to cut photographs from")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(photographs(Path(folder), arguments.images))
    report(
        *("data-mapper", rows, "original"),
        image=[*SIZE],
        resize=f"{SHORT_EDGE}/{LONG_EDGE} and mirror",
        objects=OBJECTS,
        images="made" if arguments.images is None else arguments.images.name,
        decoded_by="Pillow" if simplejpeg() is None else "simplejpeg",
    )
    for name, row in rows.items():
        print(f"{name}: {1 / row.ours:.0f} images/s, original {1 / row.peer:.0f}")


if __name__ == "__main__":
    main()
