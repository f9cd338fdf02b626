"""``d2 predict``."""

import argparse
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from d2_engine.cli.run_arguments import RunArguments, add_trust

_OVERRIDE = re.compile(r"^[+~]{0,2}[A-Za-z_][\w.\[\]]*=")

_EXAMPLES = """
examples:
  d2 predict photos/ --run output/mine
  d2 predict 'photos/**/*.jpg' --config mask_rcnn_R_50_FPN_3x --confidence 0.7
  d2 predict photo.jpg --config my_config.yaml --weights model.pth INPUT.MIN_SIZE_TEST=1000
  d2 predict --video clip.mp4 --run output/mine
  d2 predict --webcam --config mask_rcnn_R_50_FPN_3x
  d2 predict 'shards/*.tar' --run output/mine --engine ray --workers 8

The folder gets the drawn pictures; predictions.json with instances as COCO annotations with scores;
of panoptic models panoptic.json and panoptic/; of semantic ones semantic/ with labels as PNG.
With --engine ray it gets part-*.parquet instead, and nothing is drawn.
"""


def add_parser(commands: Any) -> argparse.ArgumentParser:
    """Add the sub-command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "predict",
        usage="d2 predict [options] PICTURE ... (--run DIR | --config CONFIG) [key=value ...]\n"
        "       d2 predict [options] PICTURE ... --exported FILE",
        help="draw what a trained detector sees, and write it as COCO annotations",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "words",
        nargs="*",
        default=[],
        metavar="PICTURE key=value",
        help="files, folders, and patterns in quotes; and changes of the config",
    )
    _add_model(parser)
    looked_at = parser.add_mutually_exclusive_group()
    looked_at.add_argument(
        "--video", "--video-input", metavar="FILE", help="look at a video instead of pictures"
    )
    looked_at.add_argument(
        "--webcam",
        nargs="?",
        type=int,
        const=0,
        metavar="N",
        help="look through a camera, the first (0) or another, until Ctrl-C",
    )
    looked_at.add_argument("--input", nargs="+", default=[], help=argparse.SUPPRESS)
    parser.add_argument(
        "--output",
        default="output/predictions",
        metavar="DIR",
        help="folder for what comes out (default: output/predictions)",
    )
    parser.add_argument(
        "--confidence",
        "--threshold",
        "--confidence-threshold",
        type=_fraction,
        default=0.5,
        metavar="SCORE",
        help="lowest score of instances, 0 to 1 (default: 0.5)",
    )
    parser.add_argument(
        "--scale",
        type=_positive,
        default=1.0,
        metavar="FACTOR",
        help="size of the drawn pictures relative to the images; labels on small images are "
        "legible when enlarged (default: 1)",
    )
    _add_engine(parser)
    parser.add_argument("--opts", nargs="+", default=[], help=argparse.SUPPRESS)
    parser.set_defaults(run=run, more="words", usage_error=parser.error)
    return parser


def _add_model(parser: argparse.ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--run", dest="run_folder", metavar="DIR", help="folder of a training run")
    source.add_argument(
        "--config",
        "--config-file",
        metavar="CONFIG",
        help="a config file, or the name of a packaged config (see d2 zoo)",
    )
    source.add_argument(
        "--exported",
        metavar="FILE",
        help="what d2 export wrote; a format of PyTorch is a program and needs --allow-unsafe",
    )
    parser.add_argument(
        "--allow-unsafe",
        action="store_true",
        help="run the program that an exported file of PyTorch's formats is",
    )
    parser.add_argument(
        "--weights",
        metavar="FILE",
        help="a checkpoint or its URL; by default the run's last, or a packaged config's own",
    )
    parser.add_argument(
        "--import",
        dest="imports",
        action="append",
        default=[],
        metavar="MODULE",
        help="import a Python module, by name or file, that registers parts of models; may be "
        "repeated",
    )
    add_trust(parser)


def _add_engine(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "any number of pictures",
        "in folders and all below them, lists of paths in .parquet, or WebDataset's .tar; the same "
        "command goes on where it was ended",
    )
    group.add_argument(
        "--engine",
        choices=("plain", "ray"),
        default="plain",
        help="ray: on Ray Data, on this machine or the cluster of $RAY_ADDRESS (extra "
        "d2-engine[ray])",
    )
    group.add_argument(
        "--workers", type=int, default=1, metavar="N", help="of ray, each with a model (default: 1)"
    )
    group.add_argument(
        "--part-size",
        type=int,
        default=256,
        metavar="N",
        help="pictures in a Parquet file, but for those of a .tar (default: 256)",
    )


def run(args: argparse.Namespace) -> int:
    """Predict; returns the exit code."""
    words = [*args.words, *args.input]
    overrides = [word for word in words if _OVERRIDE.match(word) and not Path(word).exists()]
    wanted = [word for word in words if word not in overrides]
    others = args.video is not None or args.webcam is not None
    if others == bool(wanted):
        args.usage_error(
            "pictures, a video and a webcam are looked at one at a time"
            if others
            else "which pictures? Give files, folders or patterns, --video or --webcam"
        )
    if args.allow_unsafe and args.exported is None:
        args.usage_error("--allow-unsafe is for --exported FILE")
    if args.exported is not None:
        if others or args.engine == "ray" or overrides or args.opts or args.weights:
            args.usage_error("--exported FILE looks at pictures, without changes of a config")
        _predict_pictures(args, lambda: _exported_predictor(args), wanted)
        return 0
    what = RunArguments(
        config=args.run_folder or args.config,
        overrides=(*overrides, *args.opts),
        imports=tuple(args.imports),
        output=None,
        weights=args.weights,
        trust=tuple(args.trust),
    )
    if args.run_folder is not None and not Path(args.run_folder).is_dir():
        from d2_engine.run.folder import last_checkpoint

        last_checkpoint(args.run_folder)  # says that it is not the folder of a run
    if args.engine == "ray":
        if others:
            args.usage_error("--engine ray looks at pictures, not at a video or a webcam")
        _predict_batch(args, what, wanted)
    elif args.video is not None:
        _predict_video(args, what)
    elif args.webcam is not None:
        _predict_camera(args, what)
    else:
        _predict_pictures(args, lambda: _planned_predictor(what), wanted)
    return 0


def _exported_predictor(args: argparse.Namespace) -> Any:
    from d2_data import Metadata
    from d2_data.transforms import AugmentationList, ResizeShortestEdge
    from d2_engine.defaults import DefaultPredictor
    from d2_engine.run import Preprocessing
    from d2_modeling.export import load_exported

    model = load_exported(args.exported, allow_unsafe=args.allow_unsafe)
    known = model.sidecar.preprocessing
    is_resized = not known.inside and known.min_size > 0
    steps = [ResizeShortestEdge(known.min_size, known.max_size)] if is_resized else []
    names = {
        "thing_classes": [*model.sidecar.class_names],
        "stuff_classes": [*model.sidecar.stuff_class_names],
    }
    return DefaultPredictor.of(
        model,
        Preprocessing(augmentations=lambda: AugmentationList(steps), image_format=known.channels),
        Metadata(**{name: classes for name, classes in names.items() if classes}),
    )


def _planned_predictor(what: RunArguments) -> Any:
    from d2_engine.defaults import DefaultPredictor

    return DefaultPredictor.of_plan(what.plan(to_use=True))


def _predict_pictures(
    args: argparse.Namespace, predictor: Callable[[], Any], words: list[str]
) -> None:
    from d2_engine.run.pictures import find_pictures
    from d2_engine.run.prediction import predict_pictures

    pictures = find_pictures(words)
    found = predict_pictures(
        predictor(), pictures, args.output, confidence=args.confidence, scale=args.scale
    )
    print(f"\nEverything is in {args.output}")
    if not found.instances and found.best_score is not None:
        print(
            f"Nothing is drawn: the highest score is {found.best_score:.2f}; "
            "--confidence SCORE lowers the limit"
        )


def _predict_batch(args: argparse.Namespace, what: RunArguments, words: list[str]) -> None:
    from functools import partial

    from d2_engine.batch import predict

    plan = what.plan(to_use=True)  # what is wrong with it: before workers start
    predicted = predict(
        words,
        args.output,
        partial(_predictor_of, what, str(Path.cwd())),
        model=f"{plan.weights} {' '.join(what.overrides)}".strip(),
        workers=args.workers,
        pictures_per_part=args.part_size,
        confidence=args.confidence,
    )
    there = f", {predicted.kept_parts} of them were there" if predicted.kept_parts else ""
    print(f"\n{predicted.pictures} pictures are in {predicted.parts} files in {args.output}{there}")
    if predicted.failed:
        print(f"Nothing could be done with {predicted.failed}: their rows say why (error)")


def _predictor_of(what: RunArguments, folder: str) -> Any:
    """Make the predictor in a worker, where files have the same names as in ``folder``."""
    import os

    from d2_engine.defaults import DefaultPredictor

    os.chdir(folder)
    return DefaultPredictor.of_plan(what.plan(to_use=True))


def _predict_video(args: argparse.Namespace, what: RunArguments) -> None:
    from d2_engine.defaults import DefaultPredictor
    from d2_engine.run.prediction import predict_video
    from d2_engine.run.videos import VideoSource

    with VideoSource(args.video):  # whatever is wrong with it: before the model is built
        pass
    predictor = DefaultPredictor.of_plan(what.plan(to_use=True))
    path = predict_video(predictor, args.video, args.output, confidence=args.confidence)
    print(f"\nThe video is {path}; everything is in {args.output}")


def _predict_camera(args: argparse.Namespace, what: RunArguments) -> None:
    from d2_engine.defaults import DefaultPredictor
    from d2_engine.run.prediction import predict_camera
    from d2_engine.run.videos import VideoSource

    with VideoSource(args.webcam):
        pass
    predictor = DefaultPredictor.of_plan(what.plan(to_use=True))
    print("Looking until Ctrl-C, or q in the window …")
    path = predict_camera(predictor, args.webcam, args.output, confidence=args.confidence)
    print(f"\nThe video is {path}")


def _fraction(text: str) -> float:
    number = float(text)
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"must lie between 0 and 1, got {text}")
    return number


def _positive(text: str) -> float:
    number = float(text)
    if not number > 0:
        raise argparse.ArgumentTypeError(f"must be positive, got {text}")
    return number
