"""The images, objects and categories of a dataset, each as far as it can be understood."""

import copy
import os
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from d2_data.annotation_file import read_json
from d2_data.annotations import image_size_of, normalized_annotation, plain_id
from d2_data.annotations.image_entries import complete_image
from d2_data.annotations.instance import Geometry, changed, geometry
from d2_data.annotations.plain_values import is_absent, is_number, shortened
from d2_data.catalog import Metadata
from d2_data.checking.findings import Finding
from d2_data.image_root import ImageRoot, OutsideRoot
from d2_structures import BoxMode


@attrs.define(eq=False)
class CheckedImage:
    """An image of a dataset.

    Attributes:
        id: as the dataset writes it.
        name: as the dataset writes it.
        path: of its file.
        height, width: as the dataset writes them; None where it does not.
        entry: everything that the dataset says about it.
        objects: that are annotated in it.
    """

    id: Any
    name: str
    path: str
    height: int | None
    width: int | None
    entry: dict[str, Any]
    objects: "list[CheckedObject]" = attrs.field(factory=list)

    @property
    def label(self) -> str:
        """What it is called in findings."""
        return f"image {self.name!r} (id {self.id!r})"

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width), where known."""
        return None if self.height is None or self.width is None else (self.height, self.width)


@attrs.define(eq=False)
class CheckedObject:
    """An annotation that can be understood.

    Attributes:
        image: that it is in.
        place: in the dataset's list of objects.
        category_id: of a category that is declared.
        entry: as the dataset writes it.
        normal: the same in its one form: COCO's fields, boxes as x, y, width, height.
        mended: which fields were changed for that.
        invalid_polygons: how many polygons were left out for that.
    """

    image: CheckedImage
    place: int
    category_id: Any
    entry: dict[str, Any]
    normal: dict[str, Any]
    mended: tuple[str, ...]
    invalid_polygons: int

    @property
    def label(self) -> str:
        """What it is called in findings."""
        return f"object {self.entry.get('id')!r} of {self.image.label}"

    @property
    def is_crowd(self) -> bool:
        """Whether it is a region of a crowd."""
        return bool(self.normal.get("iscrowd", 0))


@attrs.define(eq=False)
class CheckedContent:
    """What a dataset holds.

    Attributes:
        name: of the dataset or file.
        images: those that have an id of their own, by it.
        categories: by their ids, as the dataset writes them.
        others: everything else at the top level of the file.
        findings: about what could not be understood, and what was mended.
    """

    name: str
    images: dict[Any, CheckedImage] = attrs.field(factory=dict)
    categories: dict[Any, dict[str, Any]] = attrs.field(factory=dict)
    others: dict[str, Any] = attrs.field(factory=dict)
    findings: list[Finding] = attrs.field(factory=list)

    @property
    def objects(self) -> Iterable[CheckedObject]:
        """All of all images."""
        return (one for image in self.images.values() for one in image.objects)

    def add(self, kind: str, subject: str, message: str, **ids: Any) -> None:
        """Note a finding."""
        self.findings.append(Finding(kind, subject, message, **ids))


def content_of_file(
    json_file: str | os.PathLike[str],
    image_root: str | os.PathLike[str],
    outside_root: OutsideRoot = "refuse",
) -> CheckedContent:
    """Read a COCO annotation file as far as it can be understood.

    Images that lie outside of the folder are malformed entries, unless that is allowed.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not JSON, or has no images.
    """
    raw = read_json(json_file, expected_keys=("images",))
    content = CheckedContent(os.fspath(json_file))
    for key in ("images", "annotations", "categories"):
        if not isinstance(raw.get(key, []) or [], list):
            content.add("malformed", key, f"is of type {type(raw[key]).__name__}; wanted a list")
            raw[key] = []
    content.others = {k: v for k, v in raw.items() if k not in ("images", "annotations")}
    for category in raw.get("categories") or ():
        _add_category(content, category)
    root = ImageRoot(image_root, outside_root)
    for image in raw.get("images") or ():
        _add_image(content, image, root)
    ids = _Ids(content)
    for place, annotation in enumerate(raw.get("annotations") or ()):
        _add_object(content, annotation, place, ids)
    return content


def content_of_records(
    name: str, records: Iterable[Mapping[str, Any]], metadata: Metadata
) -> CheckedContent:
    """Take dataset dicts in the standard format as far as they can be understood."""
    content = CheckedContent(name)
    for number, class_name in enumerate(metadata.get("thing_classes") or ()):
        content.categories[number] = {"id": number, "name": class_name}
    content.others = {"categories": list(content.categories.values())}
    ids = _Ids(content)
    no_root = ImageRoot("")
    for place, record in enumerate(records):
        entry = {
            "id": plain_id(record.get("image_id", place)),
            **{key: record[key] for key in ("file_name", "height", "width") if key in record},
        }
        if "file_name" in entry:
            entry["file_name"] = os.fspath(entry["file_name"])
        if not _add_image(content, entry, no_root):
            continue
        for annotation in record.get("annotations") or ():
            label = f"object of image {entry.get('file_name')!r} (id {entry['id']!r})"
            try:
                normal = normalized_annotation(annotation, image_size_of(entry))
                written = _as_coco(normal, entry)
            except (TypeError, ValueError) as error:
                content.add("malformed", label, str(error), image_id=entry["id"])
                continue
            _add_object(content, written, place, ids)
    return content


def _as_coco(annotation: dict[str, Any], image: Mapping[str, Any]) -> dict[str, Any]:
    mode = annotation["bbox_mode"]
    entry = {key: value for key, value in annotation.items() if key != "bbox_mode"}
    if mode is not BoxMode.XYWHA_ABS:
        size = image_size_of(image)
        entry["bbox"] = BoxMode.convert(annotation["bbox"], mode, BoxMode.XYWH_ABS, image_size=size)
    if "keypoints" in entry:
        points = entry["keypoints"]
        entry["keypoints"] = [v if i % 3 == 2 else v - 0.5 for i, v in enumerate(points)]
    return {**entry, "image_id": image["id"]}


def _add_category(content: CheckedContent, category: Any) -> None:
    identity = category.get("id") if isinstance(category, dict) else None
    if not isinstance(identity, int | float | str) or not isinstance(category.get("name"), str):
        content.add("malformed", "category", f"{shortened(category)} lacks 'id' or 'name'")
    elif identity in content.categories:
        label = f"category {category['name']!r}"
        content.add("category-id-repeated", label, f"has the id {identity!r}, as another one has")
    else:
        content.categories[identity] = category


def _add_image(content: CheckedContent, image: Any, root: ImageRoot) -> bool:
    identity = image.get("id") if isinstance(image, dict) else None
    if not isinstance(identity, int | float | str):
        content.add("malformed", "image", f"{shortened(image)} lacks 'id'")
        return False
    label = f"image {image.get('file_name')!r} (id {identity!r})"
    if identity in content.images:
        content.add("image-id-repeated", label, "has the id of another image", image_id=identity)
        return False
    normal = copy.copy(image)
    try:
        complete_image(normal, None)
        if "file_name" not in normal:
            raise ValueError("lacks 'file_name'")
        path = root.path(normal["file_name"])
    except ValueError as error:
        content.add("malformed", label, str(error), image_id=identity)
        return False
    name = normal["file_name"]
    size = normal.get("height"), normal.get("width")
    content.images[identity] = CheckedImage(identity, name, path, *size, image)
    return True


class _Ids:
    """Finds images and categories, also where one writes text and the other numbers."""

    def __init__(self, content: CheckedContent) -> None:
        self._content = content
        self._other_way: dict[str, dict[str, Any]] = {}

    def known(self, key: str, identity: Any) -> Any:
        """The id as it is declared, or None."""
        content = self._content
        declared: Mapping[Any, Any] = content.images if key == "image_id" else content.categories
        if not isinstance(identity, int | float | str):
            return None
        if identity in declared:
            return identity
        if key not in self._other_way:
            self._other_way[key] = {str(one): one for one in declared}
        return self._other_way[key].get(str(identity))


def _add_object(content: CheckedContent, annotation: Any, place: int, ids: _Ids) -> None:
    if not isinstance(annotation, dict):
        content.add("malformed", f"object {place}", f"is {shortened(annotation)}; wanted an object")
        return
    identity = annotation.get("id")
    label = f"object {identity!r} of image id {annotation.get('image_id')!r}"
    image = content.images.get(ids.known("image_id", annotation.get("image_id")))
    if image is None:
        content.add("image-unknown", label, "belongs to no image that is listed")
        return
    place_of = {"image_id": image.id, "object_id": identity}
    label = f"object {identity!r} of {image.label}"
    category = ids.known("category_id", annotation.get("category_id"))
    if category is None:
        number = annotation.get("category_id")
        message = f"has category_id {number!r}, which is not declared"
        content.add("category-unknown", label, message, **place_of)
        return
    try:
        found = geometry(annotation, image.size)
        if not is_absent(annotation.get("area", 0)) and not is_number(annotation.get("area", 0)):
            raise ValueError(f"has 'area' {annotation['area']!r}; wanted a number")
    except ValueError as error:
        content.add("malformed", label, str(error), **place_of)
        return
    image.objects.append(_object(image, place, category, annotation, found))


def _object(
    image: CheckedImage, place: int, category: Any, annotation: dict[str, Any], found: Geometry
) -> CheckedObject:
    normal = changed(annotation, found.changes)
    normal = {key: value for key, value in normal.items() if value is not None}
    if is_absent(normal.get("area")):
        normal.pop("area", None)
    ids = {"image_id": image.id, "category_id": category}
    mended = {key for key, value in ids.items() if annotation[key] != value}
    mended |= found.changes.keys()
    if isinstance(annotation.get("segmentation"), dict):
        mended.discard("segmentation")  # plain run lengths are as good as compressed ones
    mended |= {key for key, value in annotation.items() if value is None}
    return CheckedObject(
        image,
        place,
        category,
        annotation,
        {**normal, **ids},
        tuple(sorted(mended)),
        found.invalid_polygons,
    )
