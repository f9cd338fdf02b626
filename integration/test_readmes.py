"""The examples of the READMEs run as they stand."""

from pathlib import Path

import pytest
from readme_examples import python_examples, run_example

from d2_ops import _preconditions

ROOT = Path(__file__).parents[1]
READMES = [ROOT / "README.md", *sorted((ROOT / "packages").glob("*/README.md"))]


@pytest.mark.parametrize("readme", READMES, ids=lambda p: str(p.parent.name))
def test_the_examples_of_a_readme_run(readme, tmp_path):
    examples = python_examples(readme)
    assert examples, f"{readme} shows no Python example"
    run_example("\n".join(examples), tmp_path)


@pytest.mark.parametrize("page", ["README.md", "packages/d2-ops/README.md", "docs/install.md"])
def test_d2_ops_is_built_by_what_its_errors_say(page):
    assert _preconditions._BUILD in (ROOT / page).read_text()


def test_a_failing_example_is_reported(tmp_path):
    with pytest.raises(AssertionError, match="no_such_name"):
        run_example("no_such_name", tmp_path)
