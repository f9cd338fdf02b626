"""``d2 export``."""

import argparse
from typing import Any

from d2_engine.cli.run_arguments import RunArguments, add_config, run_arguments

_FORMATS = (
    "torchscript-trace",
    "torchscript-script",
    "torch-export",
    "aotinductor",
    "onnx",
    "openvino",
)

_EXAMPLES = """
examples:
  d2 export output/mine --format onnx --output model.onnx --example photo.jpg
  d2 export mask_rcnn_R_50_FPN_3x --format torch-export --output model.pt2
  d2 export output/mine --output model.onnx --example photo.jpg --include-preprocessing
"""


def add_parser(commands: Any) -> argparse.ArgumentParser:
    """Add the sub-command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "export",
        usage="d2 export [options] CONFIG [key=value ...]",
        help="write a trained model as a file that runs without Python, and check it",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_config(
        parser, "the folder of a training run, a config file, or the name of a packaged config"
    )
    parser.add_argument("--format", choices=_FORMATS, default="onnx", help="(default: onnx)")
    parser.add_argument("--output", required=True, metavar="PATH", help="the file to write")
    parser.add_argument(
        "--example",
        metavar="PICTURE",
        help="on which file and model are compared; without it on noise, in which a model finds "
        "little",
    )
    parser.add_argument(
        "--include-preprocessing",
        action="store_true",
        help="make resizing and normalising parts of the file: it takes pictures as they are, and "
        "gives boxes in their pixels",
    )
    parser.set_defaults(run=run, more="words", usage_error=parser.error)
    return parser


def run(args: argparse.Namespace) -> int:
    """Export; returns the exit code."""
    output = args.output
    args.output = None  # of a run it is the folder
    what: RunArguments = run_arguments(args)
    args.output = output
    exported = _exported(what, args)
    print(f"\n{exported.path}\n{exported.sidecar}")
    return 0


def _exported(what: RunArguments, args: argparse.Namespace) -> Any:
    import numpy as np

    from d2_data.detection_utils import image_to_tensor, read_image
    from d2_data.transforms import AugInput
    from d2_engine.defaults import DefaultPredictor
    from d2_modeling.export import Preprocessing, export

    predictor = DefaultPredictor.of_plan(what.plan(to_use=True))
    if args.example is None:
        image = np.random.default_rng(0).integers(0, 255, (480, 640, 3), dtype=np.uint8)
    else:
        image = read_image(args.example, format=predictor.input_format)
    sizes = _sizes(predictor.aug, inside=args.include_preprocessing)
    if not args.include_preprocessing:
        seen = AugInput(image)
        predictor.aug(seen)
        image = seen.image
    return export(
        predictor.model,
        args.format,
        args.output,
        [{"image": image_to_tensor(image)}],
        include_preprocessing=args.include_preprocessing,
        preprocessing=Preprocessing(
            channels=predictor.input_format, min_size=sizes[0], max_size=sizes[1]
        ),
        class_names=predictor.metadata.get("thing_classes") or (),
        stuff_class_names=predictor.metadata.get("stuff_classes") or (),
    )


def _sizes(augmentations: Any, *, inside: bool) -> tuple[int, int]:
    """To which size images are resized; 0 where they stay as they are.

    Raises:
        ValueError: if they go through other steps, and these are to be inside the file.
    """
    from d2_data.transforms import ResizeShortestEdge

    steps = augmentations.augs
    resizing = [step for step in steps if isinstance(step, ResizeShortestEdge)]
    if inside and len(resizing) < len(steps):
        raise ValueError(
            f"--include-preprocessing knows ResizeShortestEdge, but test images go through {steps}"
        )
    if not resizing:
        return 0, 0
    return int(resizing[0].short_edge_length[0]), int(resizing[0].max_size)
