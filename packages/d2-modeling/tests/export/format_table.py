"""Which model works in which format: what is recorded, and the README's table made of it.

``python packages/d2-modeling/tests/export/format_table.py`` exports every model in every format
and writes both anew; ``... format_table.py onnx openvino --models FCOS PanopticFPN`` only tries
these. It takes minutes.
"""

import argparse
import json
import pathlib
import tempfile

from tiny_models import MODELS, build, images  # of this folder

from d2_modeling.export import export
from d2_modeling.export.formats import FORMATS

RECORD = pathlib.Path(__file__).parent / "format_table.json"
README = pathlib.Path(__file__).parents[2] / "README.md"
BEGIN, END = "<!-- formats: begin -->", "<!-- formats: end -->"
_WORDS = {True: "yes", False: "refused", None: "not tried"}
_SIZES = [(64, 80), (50, 72)]


def exported(name: str, format: str, folder: pathlib.Path) -> str:
    """Export a model.

    Returns:
        An empty text, or why it is refused.
    """
    suffix = ".xml" if format == "openvino" else ".bin"
    try:
        export(build(name), format, folder / f"model{suffix}", images(_SIZES), report=None)
    except ValueError as error:
        return str(error)
    return ""


def record() -> dict[str, dict[str, bool]]:
    """For each model whether it works in a format, for those that have been tried."""
    found: dict[str, dict[str, bool]] = json.loads(RECORD.read_text(encoding="utf-8"))
    return found


def table(works: dict[str, dict[str, bool]]) -> str:
    """The record as a table in Markdown."""
    lines = ["| model | " + " | ".join(f"`{kind}`" for kind in FORMATS) + " |"]
    lines.append("|---" * (len(FORMATS) + 1) + "|")
    for name, found in works.items():
        cells = (_WORDS[found.get(kind)] for kind in FORMATS)
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def table_of_readme() -> str:
    """What stands between the marks in the README."""
    return README.read_text(encoding="utf-8").split(BEGIN)[1].split(END)[0].strip()


def _try(names: list[str], kinds: list[str]) -> dict[str, dict[str, bool]]:
    before = record()
    works = {name: before.get(name, {}) for name in MODELS}
    for name in names:
        for kind in kinds:
            with tempfile.TemporaryDirectory() as folder:
                reason = exported(name, kind, pathlib.Path(folder))
            print(f"{name}, {kind}: {reason or 'works'}", flush=True)
            works[name][kind] = reason == ""
    return works


def _write(works: dict[str, dict[str, bool]]) -> None:
    RECORD.write_text(json.dumps(works, indent=2) + "\n", encoding="utf-8")
    before, _, rest = README.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    README.write_text(f"{before}{BEGIN}\n{table(works)}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("formats", nargs="*", metavar="FORMAT", help=f"of {', '.join(FORMATS)}")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS), metavar="NAME")
    options = parser.parse_args()
    _write(_try(options.models, options.formats or list(FORMATS)))
