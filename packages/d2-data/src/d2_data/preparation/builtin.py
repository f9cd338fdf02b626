"""The files that built-in datasets need, in their places below the folder of datasets."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from d2_data.datasets_root import datasets_root
from d2_data.preparation.ade20k import prepare_ade20k
from d2_data.preparation.cityscapes import prepare_cityscapes
from d2_data.preparation.cocofied_lvis import prepare_cocofied_lvis
from d2_data.preparation.file_by_file import Prepared, Progress
from d2_data.preparation.panoptic_semantics import prepare_panoptic_fpn_semantics

__all__ = ["PREPARATIONS", "prepare_builtin"]


def prepare_builtin(
    what: str,
    root: str | os.PathLike[str] | None = None,
    splits: Sequence[str] | None = None,
    *,
    overwrite: bool = False,
    num_workers: int | None = None,
    progress: Progress | None = None,
) -> Prepared:
    """Make files where the built-in datasets look for them.

    ======================  =============================================================
    panoptic-fpn-semantics  ``coco/panoptic_stuff_{split}`` from COCO's panoptic PNGs
    ade20k                  ``ADEChallengeData2016/annotations_detectron2``
    cityscapes              ``cityscapes/gtFine``: training ids, panoptic annotations
    cocofied-lvis           ``lvis/lvis_{version}_{split}_cocofied.json``
    ======================  =============================================================

    Args:
        what: one of the table.
        root: the folder of datasets; None takes ``$D2_DATASETS`` or what stands for it.
        splits: as the folders and files name them; None takes all that are there.
        overwrite: whether to make files that are there already.
        num_workers: threads; None takes one per core.
        progress: shows how far it is.

    Raises:
        FileNotFoundError: if what they are made of is absent; says what is expected where.
        ValueError: if ``what`` is none of the table, or an annotation is malformed.
    """
    if what not in PREPARATIONS:
        raise ValueError(f"there is nothing to prepare for {what!r}, only for {list(PREPARATIONS)}")
    found: object = datasets_root() if root is None else repr(os.fspath(root))
    folder = datasets_root().folder if root is None else Path(root)
    options = {"overwrite": overwrite, "num_workers": num_workers, "progress": progress}
    try:
        return PREPARATIONS[what](folder, splits, options)
    except FileNotFoundError as error:
        error.add_note(f"built-in datasets are expected in {found}")
        raise


def _panoptic(root: Path, splits: Sequence[str] | None, options: Mapping[str, Any]) -> Prepared:
    folder = root / "coco" / "annotations"
    prefix = "panoptic_"
    found = [path.stem.removeprefix(prefix) for path in sorted(folder.glob(f"{prefix}*.json"))]
    if not (splits or found):
        raise FileNotFoundError(
            f"there is no {str(folder)!r}/{prefix}{{split}}.json; extract COCO's panoptic "
            f"annotations there, and their PNGs into {str(root / 'coco')!r}/{prefix}{{split}}"
        )
    prepared = Prepared(0, 0)
    for split in splits or found:
        prepared += prepare_panoptic_fpn_semantics(
            folder / f"{prefix}{split}.json",
            root / "coco" / f"{prefix}{split}",
            root / "coco" / f"{prefix}stuff_{split}",
            **options,
        )
    return prepared


def _ade20k(root: Path, splits: Sequence[str] | None, options: Mapping[str, Any]) -> Prepared:
    return prepare_ade20k(root / "ADEChallengeData2016", splits, **options)


def _cityscapes(root: Path, splits: Sequence[str] | None, options: Mapping[str, Any]) -> Prepared:
    return prepare_cityscapes(root / "cityscapes", splits, **options)


def _lvis(root: Path, splits: Sequence[str] | None, options: Mapping[str, Any]) -> Prepared:
    folder = root / "lvis"
    sources = [
        path
        for split in splits or ("train", "val")
        for path in sorted(folder.glob(f"lvis_v*_{split}.json"))
    ]
    if not sources:
        raise FileNotFoundError(
            f"there is no {str(folder)!r}/lvis_{{version}}_{{split}}.json of "
            f"{list(splits or ('train', 'val'))}; put LVIS' annotation files there"
        )
    due = {source: source.with_name(f"{source.stem}_cocofied.json") for source in sources}
    missing = [s for s, target in due.items() if options["overwrite"] or not target.exists()]
    progress = options["progress"]
    loop = missing if progress is None else progress(missing, len(missing), "LVIS of COCO")
    for source in loop:
        prepare_cocofied_lvis(source, due[source])
    return Prepared(len(missing), len(sources) - len(missing))


PREPARATIONS: Mapping[str, Callable[[Path, Sequence[str] | None, Mapping[str, Any]], Prepared]] = (
    MappingProxyType(
        {
            "panoptic-fpn-semantics": _panoptic,
            "ade20k": _ade20k,
            "cityscapes": _cityscapes,
            "cocofied-lvis": _lvis,
        }
    )
)
"""How to make the files of each kind."""
