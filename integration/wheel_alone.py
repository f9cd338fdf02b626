"""Prove that an installed d2 wheel works with nothing but what it declares.

    python wheel_alone.py d2_data packages/d2-data/README.md d2_modeling d2_eval ...

Imports the module, checks that every public name can be had, that none of the modules
named after the README can be imported, and runs the README's Python examples.
"""

import importlib
import importlib.util
import sys
import tempfile
from pathlib import Path

from readme_examples import python_examples, run_example


def main(module_name: str, readme: str, *absent: str) -> None:
    present = [name for name in absent if importlib.util.find_spec(name) is not None]
    if present:
        raise SystemExit(f"{', '.join(present)} should not be installed beside {module_name}")
    module = importlib.import_module(module_name)
    for name in module.__all__:
        getattr(module, name)
    examples = python_examples(Path(readme))
    if not examples:
        raise SystemExit(f"{readme} has no Python example")
    with tempfile.TemporaryDirectory() as folder:
        run_example("\n".join(examples), folder)
    without = f", without {', '.join(absent)}" if absent else ""
    print(f"{module_name}: {len(module.__all__)} names, {len(examples)} examples{without}")


if __name__ == "__main__":
    main(*sys.argv[1:])
