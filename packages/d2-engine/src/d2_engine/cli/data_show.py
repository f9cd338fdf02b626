"""``d2 data show``."""

import argparse
from collections.abc import Sequence
from typing import Any

from d2_engine.cli.data_check import add_dataset, import_wanted

_DEFAULT_NUMBER = {".png": 16, ".html": 60}

_NOTES = """
examples:
  d2 data show train.json --images photos
  d2 data show train.json --images photos --output train.html --number 200
  d2 data show coco_2017_val --class umbrella --seed 3
"""


def add_parser(commands: Any) -> argparse.ArgumentParser:
    """Add the sub-command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "show",
        help="draw what is annotated: one sheet, or a page to scroll",
        epilog=_NOTES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_dataset(parser)
    parser.add_argument(
        "--output",
        metavar="FILE",
        default="dataset.png",
        help="a contact sheet (.png) or a page to scroll (.html) (default: dataset.png)",
    )
    parser.add_argument(
        "--number",
        type=int,
        metavar="N",
        help=f"of images (default: {_DEFAULT_NUMBER['.png']} on a sheet, "
        f"{_DEFAULT_NUMBER['.html']} on a page)",
    )
    parser.add_argument(
        "--seed", type=int, metavar="S", help="draw images by lot (default: evenly spaced ones)"
    )
    parser.add_argument(
        "--class",
        dest="classes",
        action="append",
        default=[],
        metavar="NAME",
        help="only images with such an object; may be repeated",
    )
    parser.add_argument(
        "--tile-size", type=int, metavar="PIXELS", help="of a picture's longer side"
    )
    parser.set_defaults(run=run, usage_error=parser.error)
    return parser


def run(args: argparse.Namespace) -> int:
    """Draw; returns the exit code."""
    from d2_eval.report import annotation_page, annotation_sheet

    suffix = next((s for s in _DEFAULT_NUMBER if args.output.endswith(s)), None)
    if suffix is None:
        args.usage_error(f"--output ends in .png or .html, got {args.output!r}")
        return 2
    import_wanted(args)
    name, records, metadata = _dataset(args.dataset, args.images)
    found = _of_classes(records, args.classes, metadata)
    number = _DEFAULT_NUMBER[suffix] if args.number is None else args.number
    if number < 1:
        args.usage_error(f"--number is at least 1, got {number}")
    chosen = _chosen(found, number, args.seed)
    size = {} if args.tile_size is None else {"tile_size": args.tile_size}
    if suffix == ".png":
        written = annotation_sheet(args.output, chosen, metadata, **size)
    else:
        written = annotation_page(args.output, chosen, metadata, title=name, **size)
    print(f"wrote {written}: {len(chosen)} of {len(found)} images of {name}")
    return 0


def _dataset(dataset: str, images: str | None) -> tuple[str, list[dict[str, Any]], Any]:
    """Name, records and metadata."""
    from d2_data import DatasetCatalog, MetadataCatalog
    from d2_data.datasets import coco_folder

    is_file = dataset.endswith(".json") and not dataset.startswith("coco:")
    name = coco_folder(dataset, images) if is_file else dataset
    records = list(DatasetCatalog.get(name))
    return dataset, records, MetadataCatalog.get(name)


def _of_classes(
    records: list[dict[str, Any]], names: Sequence[str], metadata: Any
) -> list[dict[str, Any]]:
    """The records with an object of one of the classes; all without any."""
    if not names:
        return records
    known = list(metadata.get("thing_classes") or ())
    unknown = [name for name in names if name not in known]
    if unknown:
        raise LookupError(
            f"there is no class {unknown[0]!r}; there are {', '.join(map(str, known[:40]))}"
        )
    wanted = {place for place, name in enumerate(known) if name in names}
    found = [
        record
        for record in records
        if any(a.get("category_id") in wanted for a in record.get("annotations") or ())
    ]
    if not found:
        raise LookupError(f"no image has an object of {' or '.join(names)}")
    return found


def _chosen(records: list[dict[str, Any]], number: int, seed: int | None) -> list[dict[str, Any]]:
    if len(records) <= number:
        return records
    if seed is None:
        return [records[place * len(records) // number] for place in range(number)]
    import random

    return [records[i] for i in sorted(random.Random(seed).sample(range(len(records)), number))]
