"""``d2 data prepare``."""

import argparse
from typing import Any

WHAT = ("panoptic-fpn-semantics", "ade20k", "cityscapes", "cocofied-lvis")
"""Those of :data:`d2_data.preparation.PREPARATIONS`, which is not imported for a help text."""

_NOTES = """
makes, below $D2_DATASETS (or --root), where the built-in datasets look for them:
  panoptic-fpn-semantics  coco/panoptic_stuff_SPLIT, from COCO's panoptic annotations
  ade20k                  ADEChallengeData2016/annotations_detectron2, from annotations
  cityscapes              cityscapes/gtFine: ..._labelTrainIds.png from the polygons, and
                          cityscapes_panoptic_SPLIT from ..._instanceIds.png
  cocofied-lvis           lvis/lvis_VERSION_SPLIT_cocofied.json, with COCO's categories
"""


def add_parser(commands: Any) -> argparse.ArgumentParser:
    """Add the sub-command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "prepare",
        help="make the files that built-in datasets need beside those that are downloaded",
        epilog=_NOTES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", choices=WHAT, metavar="WHAT", help=f"one of {', '.join(WHAT)}")
    parser.add_argument("--root", metavar="DIR", help="the folder of datasets")
    parser.add_argument(
        "--split",
        action="append",
        dest="splits",
        metavar="NAME",
        help="only this one, as its folder or file is named; may be repeated",
    )
    parser.add_argument("--overwrite", action="store_true", help="also make what is there already")
    parser.add_argument("--workers", type=int, metavar="N", help="threads (default: one per core)")
    parser.set_defaults(run=run)
    return parser


def run(args: argparse.Namespace) -> int:
    """Make the files; returns the exit code."""
    from d2_data.preparation import prepare_builtin
    from d2_eval import progress

    prepared = prepare_builtin(
        args.what,
        args.root,
        args.splits,
        overwrite=args.overwrite,
        num_workers=args.workers,
        progress=lambda items, total, what: progress(items, total, what, unit="file"),
    )
    kept = f", {prepared.kept} were there already" if prepared.kept else ""
    print(f"{args.what}: {prepared.written} files written{kept}")
    return 0
