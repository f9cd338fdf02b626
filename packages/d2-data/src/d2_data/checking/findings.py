"""What can be found about a dataset, and how grave it is."""

from typing import Any, Literal, NamedTuple

import attrs

Severity = Literal["error", "warning", "note"]


class Kind(NamedTuple):
    """A kind of finding.

    Attributes:
        severity: ``"error"`` stops training or evaluation or makes it wrong, ``"warning"`` probably
            is not meant, ``"note"`` is worth knowing.
        title: what was found, for tables.
        remedy: what to do about it.
    """

    severity: Severity
    title: str
    remedy: str


KINDS: dict[str, Kind] = {
    "malformed": Kind("error", "entries that cannot be understood", "correct or remove them"),
    "file-missing": Kind(
        "error", "image files that are missing", "check the image folder, or remove the images"
    ),
    "file-unreadable": Kind(
        "error", "image files that cannot be read", "fetch them again, or remove the images"
    ),
    "file-cut-short": Kind(
        "error", "image files that end too early", "fetch them again, or remove the images"
    ),
    "size-mismatch": Kind(
        "error",
        "images of another size than annotated",
        "restore the images that were annotated, or correct their size",
    ),
    "image-id-repeated": Kind("error", "image ids that occur again", "number images anew"),
    "category-id-repeated": Kind("error", "category ids that occur again", "number them anew"),
    "category-unknown": Kind(
        "error", "objects of categories that are not declared", "declare the categories"
    ),
    "all-crowds": Kind(
        "error",
        "only regions of crowds ('iscrowd': 1)",
        "set 'iscrowd' to 0 where an annotation is one object",
    ),
    "image-unknown": Kind(
        "warning", "objects of images that are not listed", "list the images, or remove the objects"
    ),
    "box-degenerate": Kind(
        "warning", "boxes without an area", "they are not trained on: correct or remove them"
    ),
    "box-outside": Kind(
        "warning", "boxes that reach out of the image", "cut them at the image's edges"
    ),
    "box-unlike-mask": Kind(
        "warning", "boxes far from those of their masks", "take the boxes of the masks"
    ),
    "polygon-short": Kind(
        "warning", "polygons of fewer than three points", "they are left out: remove them"
    ),
    "polygon-crossing": Kind(
        "warning", "polygons that cross themselves", "draw the outlines in one round"
    ),
    "mask-empty": Kind("warning", "masks without a pixel", "draw or remove them"),
    "mask-lacking": Kind(
        "warning",
        "objects without a mask, where others have one",
        "draw the masks: training with masks leaves these objects out",
    ),
    "keypoints-differ": Kind(
        "warning",
        "objects with another number of keypoints than their category declares",
        "correct them: a model learns one set of keypoints",
    ),
    "object-repeated": Kind("warning", "objects that are annotated twice", "remove one"),
    "object-id-repeated": Kind(
        "warning",
        "annotation ids that are missing, repeated or 0",
        "number annotations anew from 1: metrics know them by their ids",
    ),
    "picture-repeated": Kind(
        "warning", "pictures that occur again under another name", "leave one of them out"
    ),
    "category-name-repeated": Kind(
        "warning", "categories that share a name", "give them different names, or join them"
    ),
    "written-otherwise": Kind(
        "note", "fields that are mended while reading", "nothing has to be done"
    ),
    "image-turned": Kind(
        "note", "images that are turned by their EXIF orientation", "they are read upright"
    ),
    "image-empty": Kind(
        "note", "images without objects", "training leaves them out unless told otherwise"
    ),
    "category-empty": Kind("note", "categories without objects", "remove them if they are unused"),
    "category-gap": Kind(
        "note", "category ids that are not 1, 2, 3, …", "they are mapped to 0, 1, 2, …"
    ),
}


@attrs.frozen
class Finding:
    """One thing that was found.

    Attributes:
        kind: a key of :data:`KINDS`.
        subject: what it is about: an image, an object, a category, or the file.
        message: what is the matter.
        image_id: of the image, where it is about one.
        object_id: of the annotation, where it is about one.
    """

    kind: str
    subject: str
    message: str
    image_id: Any = None
    object_id: Any = None

    @property
    def severity(self) -> Severity:
        """How grave it is."""
        return KINDS[self.kind].severity
