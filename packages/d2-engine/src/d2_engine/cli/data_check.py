"""``d2 data check``."""

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from d2_data.checking import DatasetReport, Repair

_NOTES = """
looks for images that are missing, damaged, repeated, turned, or of another size than annotated;
boxes and outlines that are outside, degenerate or cross themselves; ids that are missing or
repeated; gaps among categories; and counts objects by class and size. Of every image the head is
read, with --decode all of it.

The exit code is 1 if there are errors: what stops training or evaluation, or makes it wrong.

examples:
  d2 data check train.json --images photos
  d2 data check train.json --images photos --fix mended.json --html report.html
  d2 data check balloon_train --import my_datasets.py --json -
"""

_EXAMPLES_SHOWN = 3


def add_parser(commands: Any) -> argparse.ArgumentParser:
    """Add the sub-command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "check",
        help="look for what would stop training or evaluation, or make it wrong",
        epilog=_NOTES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_dataset(parser)
    parser.add_argument(
        "--fix",
        metavar="OUT.json",
        help="write the annotations anew with what can be mended safely, and list the changes",
    )
    parser.add_argument("--html", metavar="OUT.html", help="write the report as a page")
    parser.add_argument(
        "--json", metavar="OUT", help="write the report as JSON; - prints it and nothing else"
    )
    parser.add_argument(
        "--decode", action="store_true", help="decode every image wholly, to find all damage"
    )
    parser.add_argument(
        "--examples",
        type=int,
        default=_EXAMPLES_SHOWN,
        metavar="N",
        help=f"of each kind of finding (default: {_EXAMPLES_SHOWN})",
    )
    parser.add_argument("--threads", type=int, metavar="N", help="default: four per core")
    parser.set_defaults(run=run)
    return parser


def add_dataset(parser: argparse.ArgumentParser) -> None:
    """Add what names a dataset."""
    parser.add_argument(
        "dataset", metavar="DATASET", help="a COCO annotation file (.json), or a dataset's name"
    )
    parser.add_argument(
        "--images",
        metavar="DIR",
        help="the folder of the images (default: that of the annotation file)",
    )
    parser.add_argument(
        "--import",
        dest="imports",
        action="append",
        default=[],
        metavar="MODULE",
        help="import a Python module, by name or file, that registers datasets; may be repeated",
    )


def import_wanted(args: argparse.Namespace) -> None:
    """Import the modules that register datasets."""
    if args.imports:
        from d2_engine.run import import_modules

        import_modules(args.imports)


def run(args: argparse.Namespace) -> int:
    """Check; returns the exit code, 1 if there are errors."""
    from d2_data.checking import check_dataset, report_table, write_repaired
    from d2_eval import progress

    import_wanted(args)

    def shown(heads: Iterable[Any], total: int) -> Iterable[Any]:
        return progress(heads, total, "check", unit="image")

    report = check_dataset(
        args.dataset, args.images, decode=args.decode, threads=args.threads, progress=shown
    )
    if args.json == "-":
        print(report.to_json())
    else:
        print(report_table(report, examples=args.examples))
    repairs = None if args.fix is None else write_repaired(report, args.fix)
    if args.json != "-":
        _say_what_was_written(args, repairs)
    _write_reports(args, report)
    return int(report.has_errors)


def _write_reports(args: argparse.Namespace, report: "DatasetReport") -> None:
    from d2_config.files import write_atomically
    from d2_data.checking import report_page

    if args.json not in (None, "-"):
        write_atomically(args.json, report.to_json())
    if args.html is not None:
        write_atomically(args.html, report_page(report))


def _say_what_was_written(args: argparse.Namespace, repairs: "list[Repair] | None") -> None:
    if repairs is not None:
        print(f"\nwrote {args.fix}, mended in {len(repairs)} places:")
        for repair in repairs:
            print(f"  {repair.subject}: {repair.change}")
        if args.images is None and Path(args.fix).parent != Path(args.dataset).parent:
            print("  its images are found with --images: file names are as they were")
    for written in (args.html, args.json):
        if written is not None:
            print(f"wrote {written}")
