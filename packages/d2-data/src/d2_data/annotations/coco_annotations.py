"""The annotations of a COCO file, brought into the one form that is read from them."""

import logging
from collections import Counter
from collections.abc import Mapping
from typing import Any

from d2_data.annotations.instance import geometry
from d2_data.annotations.plain_values import is_absent, is_number, shortened
from d2_data.annotations.segmentations import ImageSize

_logger = logging.getLogger(__name__)


class AnnotationPass:
    """Goes through the annotations of one file, and counts what it mends.

    Args:
        images: of the file, complete.
        categories: of the file; None takes any ``category_id``.
        where: names the file in messages.

    Attributes:
        without_outline: places, among the annotations that were kept, of those whose polygons are
            all invalid.
    """

    def __init__(
        self, images: list[dict[str, Any]], categories: list[dict[str, Any]] | None, where: str
    ) -> None:
        self._where = where
        self._images = {image["id"]: image for image in images}
        self._categories = None if categories is None else {c["id"]: c["id"] for c in categories}
        self._other_way: dict[str, dict[str, Any]] = {}
        self._mended: Counter[str] = Counter()
        self._unlisted: list[Any] = []
        self.without_outline: list[int] = []

    def run(self, annotations: list[Any]) -> list[dict[str, Any]]:
        """Bring annotations into one form, in place; return those that are kept, in their order.

        Raises:
            KeyError: for a category that the file does not declare.
            ValueError: for what cannot be understood.
        """
        kept: list[dict[str, Any]] = []
        for annotation in annotations:
            if self._is_normal(annotation) or self._normalize(annotation, len(kept)):
                kept.append(annotation)
        return kept

    def _is_normal(self, annotation: Any) -> bool:
        """Whether nothing has to be changed; quick, as nearly all annotations are so."""
        try:
            x, y, width, height = annotation["bbox"]
            total = x + y + width + height + annotation.get("area", 0)
            for polygon in annotation.get("segmentation", ((0,) * 6,)):
                if len(polygon) < 6 or len(polygon) % 2:
                    return False
                total += sum(polygon)
            if "keypoints" in annotation:
                keypoints = annotation["keypoints"]
                total += sum(keypoints)
                if not keypoints or len(keypoints) % 3:
                    return False
            return (
                total - total == 0
                and annotation["image_id"] in self._images
                and (self._categories is None or annotation["category_id"] in self._categories)
                and annotation.get("segmentation") != []
                and type(annotation.get("iscrowd", 0)) is int
                and None not in annotation.values()
            )
        except (TypeError, LookupError, ValueError, AttributeError):
            return False

    def _normalize(self, annotation: Any, place: int) -> bool:
        """Change an annotation into the one form; whether it is to be kept."""
        if not isinstance(annotation, dict):
            raise ValueError(
                f"{self._where}: annotation {place} is {shortened(annotation)}; wanted an object"
            )
        for key in [key for key, value in annotation.items() if value is None]:
            del annotation[key]
        if not self._find_image(annotation):
            return False
        self._find_category(annotation)
        image = self._images[annotation["image_id"]]
        try:
            found = geometry(annotation, _size(image), needs_box=False)
            self._check_area(annotation)
        except ValueError as error:
            raise ValueError(f"{self._named(annotation)} {error}") from error
        if found.invalid_polygons and not found.outline_lost:
            self._mended["polygons of fewer than 3 points were left out"] += found.invalid_polygons
        self._mended["boxes were taken from the segmentation"] += found.box_derived
        return self._apply(annotation, found.changes, found.outline_lost, place)

    def _apply(
        self, annotation: dict[str, Any], changes: Mapping[str, Any], outline_lost: bool, place: int
    ) -> bool:
        for field, value in changes.items():
            if value is None:
                del annotation[field]
            else:
                annotation[field] = value
        if "bbox" not in annotation:
            if outline_lost:
                self._mended["annotations without a box or a valid polygon were left out"] += 1
                return False
            raise ValueError(
                f"{self._named(annotation)} has neither a 'bbox' nor a 'segmentation'; add one of "
                "them, or remove the annotation"
            )
        if outline_lost:
            self.without_outline.append(place)
        return True

    def _check_area(self, annotation: dict[str, Any]) -> None:
        if "area" not in annotation:
            return
        if is_absent(annotation["area"]):
            del annotation["area"]
        elif not is_number(annotation["area"]):
            raise ValueError(f"has 'area' {annotation['area']!r}; wanted a number of square pixels")

    def _find_image(self, annotation: dict[str, Any]) -> bool:
        identity = self._identity(annotation, "image_id", self._images)
        if identity is None:
            self._unlisted.append(annotation["image_id"])
        return identity is not None

    def _find_category(self, annotation: dict[str, Any]) -> None:
        if self._categories is None:
            return
        if self._identity(annotation, "category_id", self._categories) is None:
            raise KeyError(
                f"{self._named(annotation)} has category_id {annotation['category_id']!r}, which "
                f"the file's 'categories' do not declare (declared: "
                f"{shortened(sorted(self._categories, key=str), 200)}); add the category or "
                "correct the annotation"
            )

    def _identity(self, annotation: dict[str, Any], key: str, known: Mapping[Any, Any]) -> Any:
        """The id that is known, be it a number here and text there; None for an unknown one."""
        if is_absent(annotation.get(key)):
            raise ValueError(f"{self._where}: {key!r} is missing from {shortened(annotation, 200)}")
        identity = annotation[key]
        if not isinstance(identity, int | float | str):
            raise ValueError(
                f"{self._named(annotation)} has {key!r} {shortened(identity)}; wanted a number or "
                "text"
            )
        if identity in known:
            return identity
        if key not in self._other_way:
            self._other_way[key] = {str(one): one for one in known}
        found = self._other_way[key].get(str(identity))
        if found is not None:
            annotation[key] = found
            self._mended[f"annotations write {key} as {type(identity).__name__}"] += 1
        return found

    def _named(self, annotation: dict[str, Any]) -> str:
        return (
            f"{self._where}: annotation id {annotation.get('id')!r} of image "
            f"{annotation.get('image_id')!r}"
        )

    def report(self) -> None:
        """Log what was mended."""
        for what, count in (+self._mended).items():
            _logger.warning("%s: %d %s", self._where, count, what)
        if self._unlisted:
            _logger.warning(
                "%s: %d annotations belong to images that the file does not list, e.g. image_id %r",
                self._where,
                len(self._unlisted),
                self._unlisted[0],
            )


def _size(image: Mapping[str, Any]) -> ImageSize | None:
    height, width = image.get("height"), image.get("width")
    return None if height is None or width is None else (height, width)
