"""``d2 data convert``."""

import argparse
from typing import Any

FROM = ("dataset", "coco", "voc", "yolo")
TO = ("coco", "voc", "yolo")
TASKS = ("detect", "segment", "pose", "obb")
PLACEMENTS = ("link", "copy", "none")
"""Those of :mod:`d2_data.conversion`, which is not imported for a help text."""

_NOTES = """
formats:
  dataset  the name of a built-in dataset, or of one that --import registers
  coco     annotations/instances_SPLIT.json and SPLIT/; SPLIT/_annotations.coco.json; or a file
  voc      Annotations, ImageSets/Main, JPEGImages
  yolo     data.yaml, images/SPLIT, labels/SPLIT

examples:
  d2 data convert VOC2012 cells --from voc --to coco
  d2 data convert instances.json out --images photos --from coco --to yolo --task segment
  d2 data convert coco_2017_val out --from dataset --to voc --place copy
"""


def add_parser(commands: Any) -> argparse.ArgumentParser:
    """Add the sub-command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "convert",
        help="write a dataset in the format of COCO, Pascal VOC or YOLO",
        epilog=_NOTES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", metavar="SOURCE", help="a folder, a file or a dataset's name")
    parser.add_argument("output", metavar="OUTPUT", help="a new or empty folder")
    parser.add_argument("--from", dest="source_format", choices=FROM, required=True)
    parser.add_argument("--to", dest="target_format", choices=TO, required=True)
    parser.add_argument(
        "--split",
        action="append",
        dest="splits",
        metavar="NAME",
        help="only this one (default: train, val and test, as far as they are there); may be "
        "repeated",
    )
    parser.add_argument("--images", metavar="DIR", help="the folder of a COCO file's images")
    parser.add_argument(
        "--place",
        choices=PLACEMENTS,
        default="link",
        help="how images come into OUTPUT (default: links)",
    )
    parser.add_argument(
        "--task",
        choices=TASKS,
        help="what YOLO's labels are for (default: what the annotations are good for)",
    )
    parser.add_argument(
        "--rotated",
        action="store_true",
        help="four corners in YOLO's labels are a rotated box, not a polygon",
    )
    parser.add_argument(
        "--import",
        dest="imports",
        action="append",
        default=[],
        metavar="MODULE",
        help="import a Python module, by name or file, that registers datasets; may be repeated",
    )
    parser.set_defaults(run=run)
    return parser


def run(args: argparse.Namespace) -> int:
    """Convert; returns the exit code."""
    from d2_data.conversion import convert

    if args.imports:
        from d2_engine.run import import_modules

        import_modules(args.imports)
    converted = convert(
        args.source,
        args.source_format,
        args.output,
        args.target_format,
        splits=args.splits,
        images=args.images,
        rotated=args.rotated,
        task=args.task,
        placement=args.place,
    )
    for split in converted:
        print(f"{split.name}: {split.images} images, {split.annotations} objects")
        for change, count in split.changes.items():
            print(f"  {count} {change}")
    print(f"written to {args.output}")
    return 0
