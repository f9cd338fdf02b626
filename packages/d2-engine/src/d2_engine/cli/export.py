"""``d2 export``."""

import argparse
import logging
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

_PRECISIONS = ("float32", "float16", "bfloat16", "int8")

_EXAMPLES = """
examples:
  d2 export output/mine --format onnx --output model.onnx --example photo.jpg
  d2 export mask_rcnn_R_50_FPN_3x --format torch-export --output model.pt2
  d2 export output/mine --output model.onnx --example photo.jpg --include-preprocessing
  d2 export output/mine --output small.onnx --precision int8 --calibration-images 200
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
    parser.add_argument(
        "--keep-different",
        action="store_true",
        help="keep a file that differs from the model by more than rounding explains, and warn",
    )
    small = parser.add_argument_group(
        "ONNX (float16, int8) and OpenVINO (bfloat16, int8) in fewer bits; see d2 eval --exported"
    )
    small.add_argument(
        "--precision", choices=_PRECISIONS, default="float32", help="(default: float32)"
    )
    small.add_argument(
        "--calibration-dataset",
        metavar="NAME",
        help="whose images tell int8 the range of values (default: the training data)",
    )
    small.add_argument("--calibration-images", type=int, metavar="N", help="so many (default: 100)")
    parser.set_defaults(run=run, more="words", usage_error=parser.error)
    return parser


def run(args: argparse.Namespace) -> int:
    """Export; returns the exit code."""
    for option in ("calibration_dataset", "calibration_images"):
        if getattr(args, option) is not None and args.precision != "int8":
            args.usage_error(f"--{option.replace('_', '-')} is for --precision int8")
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

    plan = what.plan(to_use=True)
    calibration = _calibration_files(args, plan) if args.precision == "int8" else None
    predictor = DefaultPredictor.of_plan(plan)
    if args.example is None:
        image = np.random.default_rng(0).integers(0, 255, (480, 640, 3), dtype=np.uint8)
    else:
        image = read_image(args.example, format=predictor.input_format)
    sizes = _sizes(predictor.aug, inside=args.include_preprocessing)

    def as_input(image: Any) -> dict[str, Any]:
        seen = AugInput(image)
        if not args.include_preprocessing:
            predictor.aug(seen)
        return {"image": image_to_tensor(seen.image)}

    return export(
        predictor.model,
        args.format,
        args.output,
        [as_input(image)],
        include_preprocessing=args.include_preprocessing,
        preprocessing=Preprocessing(
            channels=predictor.input_format, min_size=sizes[0], max_size=sizes[1]
        ),
        class_names=predictor.metadata.get("thing_classes") or (),
        stuff_class_names=predictor.metadata.get("stuff_classes") or (),
        precision=args.precision,
        strict=not args.keep_different,
        calibration_inputs=None
        if calibration is None
        else (as_input(read_image(file, format=predictor.input_format)) for file in calibration),
    )


def _calibration_files(args: argparse.Namespace, plan: Any) -> list[str]:
    """Pictures of a dataset, from all over it.

    Raises:
        ValueError: if there is no dataset, or too few images are asked for.
    """
    from d2_data import DatasetCatalog

    known = () if plan.train_data is None else plan.train_data.datasets
    name = args.calibration_dataset or next(iter(known), None)
    if name is None:
        raise ValueError("the config names no training data: give --calibration-dataset NAME")
    wanted = 100 if args.calibration_images is None else args.calibration_images
    if wanted < 1:
        raise ValueError(f"--calibration-images must be at least 1, got {wanted}")
    files = [entry["file_name"] for entry in DatasetCatalog.get(name)]
    step = max(1, len(files) // wanted)
    return files[::step][:wanted]


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
    if len(resizing) < len(steps):
        logging.getLogger(__name__).warning(
            "test images go through %s, of which the sidecar says ResizeShortestEdge only: whoever "
            "calls the file, d2 predict --exported too, has to give images that went through the "
            "others",
            steps,
        )
    if not resizing:
        return 0, 0
    return int(resizing[0].short_edge_length[0]), int(resizing[0].max_size)
