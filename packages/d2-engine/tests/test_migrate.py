"""Code that names detectron2 is rewritten to d2's names, and nothing else of it changes."""

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

pytest.importorskip("libcst")

from d2_engine import compat
from d2_engine.compat import module_map
from d2_engine.migrate import Migrated, migrate_file, migrate_tree

PROJECTS = Path(__file__).parent / "compat" / "projects"


@pytest.fixture
def migrate(tmp_path):
    def migrated(source: str, name: str = "code.py") -> Migrated:
        file = tmp_path / name
        file.write_bytes(source.encode())
        return migrate_file(file)

    return migrated


def namespace(source: bytes) -> dict[str, Any]:
    found: dict[str, Any] = {}
    exec(compile(source, "migrated", "exec"), found)
    return found


# ---------------------------------------------------------------------- imports


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("from detectron2.config import get_cfg\n", "from d2_config import get_cfg\n"),
        ("from detectron2.config import CfgNode as CN\n", "from d2_config import CfgNode as CN\n"),
        ("import detectron2.utils.comm as comm\n", "import d2_structures.comm as comm\n"),
        ("from detectron2.utils import comm\n", "from d2_structures import comm\n"),
        ("from detectron2 import model_zoo\n", "from d2_engine import model_zoo\n"),
        ("from detectron2 import config\n", "import d2_config as config\n"),
        (
            "from detectron2.data import transforms as T\nx = T.Resize((8, 8))\n",
            "from d2_data import transforms as T\nx = T.Resize((8, 8))\n",
        ),
        (
            "import detectron2.config\nx = detectron2.config.get_cfg()\n",
            "import d2_config\nx = d2_config.get_cfg()\n",
        ),
        (
            "import torch, detectron2.structures\nx = detectron2.structures.Boxes.cat\n",
            "import torch\nimport d2_structures\nx = d2_structures.Boxes.cat\n",
        ),
        (
            "from detectron2.data.transforms import TransformGen\n",
            "from d2_data.transforms import Augmentation as TransformGen\n",
        ),
        (
            "try:\n    from detectron2.layers import cat  # old\nexcept ImportError:\n    pass\n",
            "try:\n    from d2_modeling.layers import cat  # old\nexcept ImportError:\n    pass\n",
        ),
        (
            "from detectron2.modeling.backbone.resnet import make_stage\n",
            "from d2_modeling.backbone import ResNet\nmake_stage = ResNet.make_stage\n",
        ),
        (
            'target = "detectron2.modeling.backbone.resnet.ResNet.make_default_stages"\n',
            'target = "d2_modeling.backbone.ResNet.make_default_stages"\n',
        ),
    ],
)
def test_names_become_those_of_d2(migrate, before, after):
    done = migrate(before)
    assert done.after.decode() == after
    assert done.findings == ()


def test_comments_order_and_line_ends_stay(migrate):
    source = (
        "# first\r\n"
        "from detectron2.structures import (  # all of one module\r\n"
        "    Boxes,  # corners\r\n"
        "    Instances,\r\n"
        ")\r\n"
        "\r\n"
        "x  =  Boxes   # as it was\r\n"
    )
    done = migrate(source)
    assert done.after.decode() == source.replace("detectron2.structures", "d2_structures")


def test_a_statement_that_becomes_several_keeps_its_comments(migrate):
    done = migrate(
        "from detectron2.engine import (\n"
        "    launch,  # starts processes\n"
        "    DefaultTrainer,\n"
        "    hooks,\n"
        ")  # noqa: F401\n"
    )
    assert done.after.decode() == (
        "# starts processes\n"
        "from d2_engine import launch, hooks\n"
        "from d2_engine.defaults import DefaultTrainer  # noqa: F401\n"
    )


def test_a_use_from_another_module_than_the_rest_is_imported_by_itself(migrate):
    done = migrate(
        "from detectron2.data import transforms as T\n"
        "apply_transform_gens = None\n"
        "T.Resize, T.RandomFlip, T.apply_transform_gens\n"
    )
    text = done.after.decode()
    assert "    apply_transform_gens as d2_apply_transform_gens,\n)\n" in text
    assert text.endswith("T.Resize, T.RandomFlip, d2_apply_transform_gens\n")
    assert [finding.line for finding in done.findings] == [3]
    namespace(done.after)


def test_names_of_an_inner_scope_are_not_taken_for_imports(migrate):
    source = (
        "from detectron2.data import transforms as T\n"
        "def scaled(T):\n    return T.HFlipTransform\n"
        "x = T.HFlipTransform\n"
    )
    done = migrate(source)
    assert done.after.decode() == source.replace("from detectron2.data", "from d2_data")


def test_a_bridge_is_taken_only_by_what_derives_from_it(migrate):
    used = migrate("from detectron2.data import DatasetMapper\nDatasetMapper\n")
    assert used.after.startswith(b"from d2_data import DatasetMapper")
    assert used.findings == ()
    derived = migrate(
        "from detectron2.data import DatasetMapper\nclass Mine(DatasetMapper):\n    pass\n"
    )
    assert b"from d2_engine.compat.shims.mappers import DatasetMapper" in derived.after
    (finding,) = derived.findings
    assert "overwrite" in finding.why
    assert finding.line == 1


def test_all_names_of_a_module_come_from_where_they_are(migrate):
    done = migrate(
        "from detectron2.data.transforms import *\nx = ResizeShortestEdge\ny = TransformGen\n"
    )
    found = namespace(done.after)
    from d2_data import transforms

    assert found["x"] is transforms.ResizeShortestEdge
    assert found["y"] is transforms.Augmentation
    assert done.findings[0].what == "from detectron2.data.transforms import *"


# --------------------------------------------------------------------- property

_NAMES = [
    (module, name)
    for module in compat.provided_modules()
    for name in (
        *module_map.names_in(module),
        *(n for n in module_map.modules()[module].names if n.startswith("_")),
    )
]
_HIDDEN = {  # modules that a function of the same name hides once they are imported
    module
    for module in compat.provided_modules()
    if "." in module and (module_map.target_of(*module.rsplit(".", 1)) or ("", ""))[1]
}
_FORMS = (
    "from {module} import {name} as {local}",
    "import {module} as m_{local}\n{local} = m_{local}.{name}",
    "import {module}\n{local} = {module}.{name}",
    "def f_{local}():\n    from {module} import {name}\n    return {name}\n{local} = f_{local}()",
    "if True: from {module} import {name} as {local}",
)


@settings(max_examples=40, deadline=None, phases=(Phase.explicit, Phase.generate))
@given(
    st.lists(st.tuples(st.sampled_from(_NAMES), st.sampled_from(_FORMS)), min_size=1, max_size=6)
)
def test_what_comes_out_has_the_same_objects_without_the_compatibility_import(
    tmp_path_factory, chosen
):
    source = "\n".join(
        (_FORMS[0] if module in _HIDDEN else form).format(
            module=module, name=name, local=f"x{place}"
        )
        for place, ((module, name), form) in enumerate(chosen)
    )
    file = tmp_path_factory.mktemp("property") / "code.py"
    file.write_text(source + "\n")
    done = migrate_file(file)
    roots = [
        (node.module or "").split(".")[0] if isinstance(node, ast.ImportFrom) else alias.name
        for node in ast.walk(ast.parse(done.after))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
    ]
    assert not {"detectron2", "fvcore", "iopath"} & {root.split(".")[0] for root in roots}
    found = namespace(done.after)
    for place, ((module, name), _) in enumerate(chosen):
        expected = module_map.resolve(module, name)
        value = found[f"x{place}"]
        if "compat.shims" in str(module_map.target_of(module, name)):
            assert value.__class__ is expected.__class__ or callable(value)
        elif not hasattr(expected, "__func__"):
            assert value is expected


# ------------------------------------------------------------------ for a human


@pytest.mark.parametrize(
    ("source", "line", "what", "why"),
    [
        ("\nfrom detectron2.engine import nothing\n", 2, "detectron2.engine.nothing", "by that"),
        ("import detectron2.nothing\n", 1, "detectron2.nothing", "does not provide"),
        (
            "import detectron2.utils.comm as comm\ncomm.get_rank = lambda: 0\n",
            2,
            "detectron2.utils.comm.get_rank",
            "assigned to",
        ),
        (
            'import logging\nlogging.getLogger("detectron2.engine")\n',
            2,
            "detectron2.engine",
            "loggers",
        ),
        ('x = "detectron2.engine.nothing"\n', 1, "detectron2.engine.nothing", "by that"),
        (
            "import detectron2\nprint(detectron2.__version__)\n",
            2,
            "detectron2.__version__",
            "__version__",
        ),
        ("import detectron2\nprint 'x'\n", 1, "the whole file", "line 2"),
        ("import d2_engine.compat.detectron2\n", 1, "d2_engine.compat.detectron2", "not needed"),
    ],
)
def test_what_cannot_be_rewritten_is_told_with_its_line(migrate, source, line, what, why):
    (finding,) = migrate(source).findings
    assert (finding.line, finding.what) == (line, what)
    assert why in finding.why


def test_targets_in_yaml_are_rewritten_and_the_rest_stays(migrate):
    done = migrate(
        "# _target_: detectron2.layers.Conv2d\n"
        'model: {_target_: "detectron2.modeling.meta_arch.FCOS", x: 1}  # detectron2.a\n'
        "head:\n"
        "  _target_:   detectron2.modeling.poolers.ROIPooler\n"
        "  other: detectron2.layers.Conv2d\n"
        "  bad:\n    _target_: detectron2.layers.nothing\n",
        "config.yaml",
    )
    assert done.after.decode() == (
        "# _target_: detectron2.layers.Conv2d\n"
        'model: {_target_: "d2_modeling.meta_arch.FCOS", x: 1}  # detectron2.a\n'
        "head:\n"
        "  _target_:   d2_modeling.poolers.ROIPooler\n"
        "  other: detectron2.layers.Conv2d\n"
        "  bad:\n    _target_: detectron2.layers.nothing\n"
    )
    assert [finding.line for finding in done.findings] == [5, 7]


def test_dependencies_are_left_to_a_human(tmp_path):
    (tmp_path / "requirements.txt").write_text(
        "torch\ngit+https://github.com/facebookresearch/detectron2.git\n"
    )
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "a.py").write_text("import detectron2\n")
    done = {file.path.name: file for file in migrate_tree(tmp_path)}
    assert set(done) == {"requirements.txt"}
    assert done["requirements.txt"].findings[0].line == 2
    assert not any(file.is_changed for file in done.values())


# -------------------------------------------------------------------- notebooks


def notebook(*cells: str, **form: Any) -> bytes:
    content = {
        "cells": [
            {
                "cell_type": "code",
                "execution_count": 1,
                "metadata": {},
                "outputs": [{"name": "stdout", "text": ["from detectron2.config import get_cfg"]}],
                "source": cell.splitlines(keepends=True),
            }
            for cell in cells
        ],
        "metadata": {"language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return (json.dumps(content, **({"indent": 1, "ensure_ascii": False} | form)) + "\n").encode()


def cells(content: bytes) -> list[str]:
    return ["".join(cell["source"]) for cell in json.loads(content)["cells"]]


def migrate_cells(folder: Path, *texts: str, **form: Any) -> Migrated:
    file = folder / "demo.ipynb"
    file.write_bytes(notebook(*texts, **form))
    return migrate_file(file)


@pytest.mark.parametrize("form", [{}, {"indent": None}, {"indent": 2, "ensure_ascii": True}])
def test_a_notebook_is_rewritten_as_one_program_and_stays_as_it_was_written(form, tmp_path):
    before = (
        "%matplotlib inline\n!pip install torch \\\n  timm\nimport detectron2.config  # Größe",
        "",
        "%%time\nx = detectron2.config.get_cfg()\nif x:\n    !ls {x}\n\ndisplay(x);",
        "%%bash\nfrom detectron2 import nothing",
        "files = !ls\nx?",
    )
    done = migrate_cells(tmp_path, *before, **form)
    after = list(before)
    after[0] = before[0].replace("detectron2.config", "d2_config")
    after[2] = before[2].replace("detectron2.config", "d2_config")
    assert cells(done.after) == after
    assert done.after == notebook(*after, **form)
    assert not done.findings


def test_what_a_notebook_leaves_to_a_human_is_named_with_cell_and_line_of_the_file(tmp_path):
    texts = (
        "a = 1\nb = 2",
        "print 'old'\nimport detectron2",
        "a = 1\n!pip install detectron2\nfrom detectron2.nothing import no_such_name",
    )
    done = migrate_cells(tmp_path, *texts)
    lines = done.before.decode().splitlines()
    found = {finding.what: finding for finding in done.findings}
    assert "print 'old'" in lines[found["cell 2, left as it is"].line - 1]
    assert "!pip install" in lines[found["detectron2"].line - 1]
    (rest,) = (finding for what, finding in found.items() if what.startswith("cell 3: "))
    assert "no_such_name" in lines[rest.line - 1]


def test_cells_of_another_language_and_what_is_no_notebook_are_left_alone(tmp_path):
    file = tmp_path / "r.ipynb"
    file.write_bytes(notebook("import detectron2").replace(b'"python"', b'"R"'))
    assert not migrate_file(file).is_changed
    for text in ("{", "[]", '{"worksheets": []}'):
        file.write_text(text)
        (finding,) = migrate_file(file).findings
        assert "no notebook" in finding.why


_LINES = st.sampled_from(
    [
        "x = 1",
        "%time x",
        "!ls \\",
        "  more",
        "if x:",
        "    !ls",
        "    y = 'é'",
        "",
        "# %magic",
        "x?",
    ]
)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(_LINES, max_size=5).map("\n".join), max_size=4))
def test_a_notebook_without_names_of_detectron2_stays_to_the_byte(tmp_path_factory, texts):
    done = migrate_cells(tmp_path_factory.getbasetemp(), *texts)
    assert not done.is_changed


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(_LINES, max_size=5).map("\n".join), max_size=4))
def test_other_cells_stay_as_they_are_beside_one_that_is_rewritten(tmp_path_factory, texts):
    own = "from detectron2.config import get_cfg"
    done = migrate_cells(tmp_path_factory.getbasetemp(), *texts, own)
    assert cells(done.after) == [*texts, "from d2_config import get_cfg"]


# --------------------------------------------------------------------- projects


def test_projects_in_the_style_of_public_ones_name_detectron2_no_more(tmp_path):
    copy = tmp_path / "projects"
    shutil.copytree(PROJECTS, copy)
    changed = [file for file in migrate_tree(copy) if file.is_changed]
    assert len(changed) == 9
    for file in changed:
        modules = {
            name.split(".")[0]
            for node in ast.walk(ast.parse(file.after))
            for name in (
                [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else []
            )
        }
        assert not {"detectron2", "fvcore", "iopath"} & modules


def test_a_migrated_project_trains_without_the_compatibility_import(tmp_path, shapes):
    shutil.copytree(PROJECTS, tmp_path, dirs_exist_ok=True)
    shutil.copytree(shapes, tmp_path / "shapes")
    for file in migrate_tree(tmp_path):
        file.path.write_bytes(file.after)
    options = ("--config-file", "attributes_head.yaml", "OUTPUT_DIR", "run")
    code = f"import sys, runpy; sys.argv = {['attributes_head.py', *options]!r}\n" + (
        "sys.path.insert(0, '.'); runpy.run_path('attributes_head.py', run_name='__main__')\n"
        "assert not [name for name in sys.modules if name.startswith('detectron2')]"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "model_final.pth").is_file()
