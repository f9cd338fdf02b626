"""``d2 predict``."""

import argparse
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

_IMAGE_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


def add_parser(commands: Any) -> argparse.ArgumentParser:
    """Add the sub-command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "predict",
        help="draw what a trained detector sees in pictures, and write it as COCO annotations",
    )
    parser.add_argument(
        "images", nargs="+", metavar="IMAGE", help="picture files, or folders of pictures"
    )
    parser.add_argument(
        "--output", required=True, metavar="DIR", help="folder for pictures and predictions.json"
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--run", dest="run_folder", metavar="DIR", help="folder of a training run")
    source.add_argument(
        "--config",
        metavar="CONFIG",
        help="a config file, with --weights, or the name of a packaged config (see d2 zoo)",
    )
    parser.add_argument(
        "--weights",
        metavar="FILE",
        help="a checkpoint or its URL; by default the run's last, or a packaged config's own",
    )
    parser.add_argument(
        "--threshold", type=float, default=0.5, help="lowest score shown (default: 0.5)"
    )
    parser.add_argument(
        "--scale",
        type=float,
        default=1.0,
        help="size of the drawn pictures relative to the images; labels on small images are "
        "legible when enlarged (default: 1)",
    )
    parser.set_defaults(run=run, more="images")
    return parser


def run(args: argparse.Namespace) -> int:
    """Predict; returns the exit code."""
    from d2_config.logger import setup_logger
    from d2_data.detection_utils import read_image
    from d2_engine.defaults import DefaultPredictor
    from d2_engine.run_folder import load_config_of_run, load_config_to_use, load_metadata
    from d2_engine.run_settings import set_weights, weights_of
    from d2_structures.visualizer import Visualizer

    if not 0 <= args.threshold <= 1:
        raise ValueError(f"--threshold must lie between 0 and 1, got {args.threshold}")
    if args.scale <= 0:
        raise ValueError(f"--scale must be positive, got {args.scale}")
    setup_logger()
    if args.run_folder:
        cfg = load_config_of_run(args.run_folder)
        set_weights(cfg, args.weights or weights_of(cfg))
    else:
        cfg = load_config_to_use(args.config, args.weights)
    images = list(_unique_names(_find_images(args.images)))
    predictor = DefaultPredictor(cfg)
    metadata = load_metadata(args.run_folder) if args.run_folder else predictor.metadata
    output = Path(args.output)
    output.mkdir(parents=True, exist_ok=True)
    results = _CocoResults(metadata)
    unreadable: list[str] = []
    for path, name in images:
        try:
            image = read_image(path, format="BGR")
        except OSError as error:
            unreadable.append(str(error))
            continue
        outputs = predictor(image)
        if "instances" not in outputs:
            raise ValueError(
                f"d2 predict shows instances, but this model gives {', '.join(outputs)}; "
                "use DefaultPredictor in Python"
            )
        instances = outputs["instances"].to("cpu")
        instances = instances[instances.scores >= args.threshold]
        visualizer = Visualizer(image[:, :, ::-1], metadata, scale=args.scale)
        picture = visualizer.draw_instance_predictions(instances)
        picture.save(str(output / name))
        results.add(path, image.shape[0], image.shape[1], instances)
        print(f"{path}: {len(instances)} objects -> {output / name}")
    results.write(output / "predictions.json")
    if unreadable:
        raise OSError(
            f"{len(unreadable)} of {len(images)} pictures could not be read, the others are in "
            f"{output}:\n  " + "\n  ".join(unreadable)
        )
    return 0


def _find_images(arguments: Iterable[str]) -> Iterator[Path]:
    """The files named, and the pictures in the folders named."""
    for argument in arguments:
        path = Path(argument)
        if path.is_dir():
            found = sorted(p for p in path.iterdir() if p.suffix.lower() in _IMAGE_SUFFIXES)
            if not found:
                raise FileNotFoundError(f"the folder {path} has no pictures")
            yield from found
        elif path.is_file():
            yield path
        else:
            raise FileNotFoundError(f"there is no picture {path}")


def _unique_names(paths: Iterable[Path]) -> Iterator[tuple[Path, str]]:
    """Each path with a file name of its own for the drawn picture."""
    taken: set[str] = set()
    for path in paths:
        stem, number = path.stem, 1
        while f"{stem}.png" in taken:
            number += 1
            stem = f"{path.stem}_{number}"
        taken.add(f"{stem}.png")
        yield path, f"{stem}.png"


class _CocoResults:
    """Predictions as a COCO annotation file, with scores."""

    def __init__(self, metadata: Any) -> None:
        id_map = metadata.get("thing_dataset_id_to_contiguous_id") or {}
        self._category_ids = {contiguous: category for category, contiguous in id_map.items()}
        self._names = metadata.get("thing_classes") or []
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []
        self._seen: set[int] = set()

    def add(self, path: Path, height: int, width: int, instances: Any) -> None:
        """Take in the predictions of one picture."""
        from d2_eval import instances_to_coco_json

        image_id = len(self._images) + 1
        self._images.append(
            {"id": image_id, "file_name": str(path), "height": height, "width": width}
        )
        for annotation in instances_to_coco_json(instances, image_id):
            label = annotation["category_id"]
            self._seen.add(label)
            annotation["category_id"] = self._category_ids.get(label, label)
            self._annotations.append({"id": len(self._annotations) + 1, **annotation})

    def write(self, path: Path) -> None:
        """Write the file."""
        from d2_config.atomic_file import write_atomically

        labels = range(len(self._names)) if self._names else sorted(self._seen)
        categories = [
            {
                "id": self._category_ids.get(label, label),
                "name": self._names[label] if self._names else str(label),
            }
            for label in labels
        ]
        content = {
            "images": self._images,
            "annotations": self._annotations,
            "categories": categories,
        }
        write_atomically(path, json.dumps(content) + "\n")
