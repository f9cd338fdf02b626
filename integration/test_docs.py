"""The blocks of the documentation's pages, and its notebooks, run as they stand."""

import json
import os
import shutil
from pathlib import Path

import pytest
from readme_examples import python_examples

from d2_data import DatasetCatalog, MetadataCatalog
from d2_engine import compat

DOCS = Path(__file__).parents[1] / "docs"
PAGES = [
    page
    for page in sorted(DOCS.rglob("*.md"))
    if "```python\n" in page.read_text()
    and page.parent.name not in ("notebooks", "packages")  # run below and as READMEs
    and "_build" not in page.parts
]
NOTEBOOKS = sorted((DOCS / "notebooks").glob("*.ipynb"))
RECIPES = (
    "A custom dataset",
    "A custom backbone",
    "Validation loss during training",
    "Early stopping",
    "Class weights",
    "Grey, 16-bit and multi-channel pictures",
    "Tiny objects in large pictures, by slicing",
    "Video",
    "Freezing layers",
    "Export",
    "Resume on another number of GPUs",
    "Evaluation per size",
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder to run in; the datasets that a page registers are forgotten behind it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("D2_DATASETS", str(tmp_path / "datasets"))
    before = set(DatasetCatalog.list())
    yield tmp_path
    compat.uninstall()
    for name in set(DatasetCatalog.list()) - before:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


@pytest.mark.parametrize(
    "page", PAGES, ids=lambda p: p.relative_to(DOCS).with_suffix("").as_posix()
)
def test_the_blocks_of_a_page_run(page, folder):
    namespace: dict[str, object] = {"__name__": "page"}
    for number, block in enumerate(python_examples(page), 1):
        exec(compile(block, f"{page.name}, block {number}", "exec"), namespace)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda p: p.stem)
def test_the_cells_of_a_notebook_run(notebook, folder):
    cells = json.loads(notebook.read_text())["cells"]
    assert all(not cell["outputs"] for cell in cells if cell["cell_type"] == "code")
    namespace: dict[str, object] = {"__name__": "notebook"}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), notebook.name, "exec"), namespace)


def test_a_notebook_runs_in_a_kernel(folder):
    nbformat = pytest.importorskip("nbformat")
    client = pytest.importorskip("nbclient").NotebookClient
    pytest.importorskip("ipykernel")
    shutil.copy(DOCS / "notebooks" / "only_a_head.ipynb", folder)
    notebook = nbformat.read(folder / "only_a_head.ipynb", as_version=4)
    nbformat.validate(notebook)
    client(notebook, timeout=120, kernel_name="python3").execute(cwd=str(folder), env=os.environ)
    shown = [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]
    assert "loss_box_reg" in str(shown[1])


def test_the_cookbook_has_a_running_block_for_each_question():
    text = (DOCS / "cookbook.md").read_text()
    sections = {part.partition("\n")[0]: part for part in text.split("\n## ")[1:]}
    for recipe in RECIPES:
        assert "```python\n" in sections[recipe], recipe
