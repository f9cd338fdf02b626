"""``d2 zoo``."""

import argparse
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from d2_engine.model_zoo import PublishedModel

_COLUMNS: dict[str, Callable[["PublishedModel"], str]] = {
    "box AP": lambda model: _cell(model.box_ap),
    "mask AP": lambda model: _cell(model.mask_ap),
    "keypoint AP": lambda model: _cell(model.keypoint_ap),
    "PQ": lambda model: _cell(model.panoptic_quality),
    "proposal AR": lambda model: _cell(model.proposal_ar),
    "s/image": lambda model: _cell(model.inference_seconds_per_image, decimals=3),
    "memory GB": lambda model: _cell(model.training_memory_gb),
    "params M": lambda model: _cell(model.parameters / 1e6),
    "model id": lambda model: model.model_id,
}

_NOTES = """
AP, PQ and AR are percent on the config's test data; s/image is inference on one V100 GPU, memory
that of training on each of 8. A name is taken by d2 train, by model_zoo.get_config in Python, and,
with trained=True, by model_zoo.get.
"""


def add_parser(commands: Any) -> argparse.ArgumentParser:
    """Add the sub-command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "zoo",
        help="list packaged configs and published models with their figures",
        epilog=_NOTES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "words",
        nargs="*",
        default=[],
        metavar="WORD",
        help="list only names that have all these words in them, e.g. mask R_50 3x",
    )
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument(
        "--all", action="store_true", help="list all packaged configs, also those without weights"
    )
    shown.add_argument(
        "--urls",
        action="store_true",
        help="list where the weights are and the file that they are kept in here",
    )
    parser.set_defaults(run=run, more="words")
    return parser


def run(args: argparse.Namespace) -> int:
    """List; returns the exit code, 1 if no name fits."""
    from d2_config.files import local_path
    from d2_engine.model_zoo import list_config_files, published_models

    def is_wanted(name: str) -> bool:
        return all(word.lower() in name.lower() for word in args.words)

    models = [model for model in published_models() if is_wanted(model.config)]
    names = [name for name in list_config_files() if is_wanted(name)] if args.all else []
    if not (models or names):
        raise LookupError(
            f"no name has {' and '.join(args.words)} in it; d2 zoo --all lists all names"
        )
    if args.all:
        print("\n".join(names))
    elif args.urls:
        for model in models:
            print(f"{model.config}\n  {model.url}\n  {local_path(model.url)}")
    else:
        for line in _table(models):
            print(line)
    return 0


def _table(models: Sequence["PublishedModel"]) -> Iterable[str]:
    """Lines of a table without the columns that are empty in every row."""
    names = ["config", *(model.config for model in models)]
    columns = [[title, *map(text_of, models)] for title, text_of in _COLUMNS.items()]
    columns = [column for column in columns if any(column[1:])]
    name_width = max(map(len, names))
    widths = [max(map(len, column)) for column in columns]
    for name, *texts in zip(names, *columns, strict=True):
        cells = [text.rjust(width) for text, width in zip(texts, widths, strict=True)]
        yield "  ".join([name.ljust(name_width), *cells])


def _cell(figure: float | None, *, decimals: int = 1) -> str:
    return "" if figure is None else f"{figure:.{decimals}f}"
