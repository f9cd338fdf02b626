"""What ``d2 eval`` does with files of predictions and of annotations."""

import argparse
from typing import Any

TASKS = ("bbox", "rotated_bbox", "segm", "boundary", "keypoints")

_KINDS = ("coco", "lvis", "panoptic", "semantic")

_OPTIONS = {
    "kind": "kind",
    "task": "tasks",
    "oks_sigmas": "kpt_oks_sigmas",
    "max_detections": "max_detections",
    "fixed_ap": "fixed_ap",
    "classes": "class_names",
    "ignore_label": "ignore_label",
    "boundary_iou": "boundary_iou",
}
"""Options of the command -> those of :func:`d2_eval.evaluate_files`."""


def add_file_options(parser: Any) -> None:
    """Add the options that are for files alone."""
    parser.add_argument(
        "--predictions",
        metavar="FILE",
        help="COCO's result format, its panoptic format, or a folder of label images",
    )
    parser.add_argument(
        "--gt", metavar="FILE", help="the annotations: of COCO or LVIS, or a folder of label images"
    )
    parser.add_argument(
        "--kind", choices=_KINDS, help="of annotations (default: what they look like)"
    )
    parser.add_argument(
        "--task",
        nargs="+",
        choices=TASKS,
        default=[],
        help="what is compared (default: what the predictions have, without boundary)",
    )
    parser.add_argument(
        "--oks-sigmas",
        nargs="+",
        type=float,
        default=[],
        metavar="S",
        help="of each keypoint, where they are not those of COCO's persons",
    )
    parser.add_argument(
        "--max-detections",
        type=int,
        metavar="N",
        help="that count of an image (default: 100; LVIS: 300)",
    )
    parser.add_argument(
        "--fixed-ap", action="store_true", help="LVIS: also AP of the best 10 000 of each class"
    )
    parser.add_argument(
        "--classes", nargs="+", default=[], metavar="NAME", help="label images: of labels 0, 1, …"
    )
    parser.add_argument(
        "--ignore-label",
        type=int,
        metavar="N",
        help="label images: of pixels that do not count (default: 255)",
    )
    parser.add_argument(
        "--boundary-iou", action="store_true", help="label images: also compare outlines"
    )


def given_file_options(args: argparse.Namespace) -> list[str]:
    """Return the options for files alone that were given, as they are typed."""
    return [f"--{option.replace('_', '-')}" for option in _OPTIONS if _is_given(args, option)]


def results_of_files(args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Return what :func:`d2_eval.evaluate_files` does."""
    from d2_eval import evaluate_files

    options = {
        name: getattr(args, option) for option, name in _OPTIONS.items() if _is_given(args, option)
    }
    return evaluate_files(args.predictions, args.gt, **options)


def _is_given(args: argparse.Namespace, option: str) -> bool:
    value = getattr(args, option)
    return value is not None and value is not False and value != []
