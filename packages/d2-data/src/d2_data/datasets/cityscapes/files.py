"""Where Cityscapes keeps the files of a frame."""

import os
from pathlib import Path

import attrs

__all__ = ["CityscapesFrame", "cityscapes_frames"]

_IMAGE = "_leftImg8bit.png"


@attrs.frozen
class CityscapesFrame:
    """One photograph and its annotations.

    Attributes:
        image: the photograph.
        name: ``{city}_{sequence}_{frame}``.
        annotation_folder: where its annotations lie.
        kind: of annotation, ``gtFine`` or ``gtCoarse``.
    """

    image: Path
    name: str
    annotation_folder: Path
    kind: str

    def annotation(self, what: str) -> Path:
        """The file with one of its annotations, e.g. ``"polygons.json"``."""
        return self.annotation_folder / f"{self.name}_{self.kind}_{what}"


def cityscapes_frames(
    image_dir: str | os.PathLike[str], gt_dir: str | os.PathLike[str]
) -> list[CityscapesFrame]:
    """Find the frames of a split.

    Args:
        image_dir: with a folder for each city and the photographs in it, e.g.
            ``leftImg8bit/train``.
        gt_dir: with the same folders and the annotations in them, e.g. ``gtFine/train``.

    Returns:
        Frames in the order of cities and names. Whether annotations are there is not looked at.

    Raises:
        FileNotFoundError: if a folder is absent, or there are no photographs.
    """
    images, annotations = Path(image_dir), Path(gt_dir)
    for folder in (images, annotations):
        if not folder.is_dir():
            raise FileNotFoundError(
                f"the folder {str(folder)!r} of Cityscapes does not exist; it is expected to hold "
                "a folder for each city"
            )
    kind = "gtCoarse" if "gtCoarse" in annotations.parts else "gtFine"
    frames = [
        CityscapesFrame(path, path.name.removesuffix(_IMAGE), annotations / city.name, kind)
        for city in sorted(images.iterdir())
        if city.is_dir()
        for path in sorted(city.glob(f"*{_IMAGE}"))
    ]
    if not frames:
        raise FileNotFoundError(f"there is no photograph {str(images)!r}/{{city}}/*{_IMAGE}")
    return frames
