"""Pages made of something else: docstrings, measurements, notebooks."""

import json
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from module_faces import MODULE_FACES

DOCS = Path(__file__).parents[1]
ROOT = DOCS.parent
PACKAGES = ("config", "ops", "structures", "data", "modeling", "eval", "engine")
LEFT_OUT = ("d2_engine.model_zoo.configs", "d2_engine.compat.")
_TOPICS = {
    "ops": "Kernels",
    "structures": "Structures and pictures",
    "data": "Data",
    "modeling": "Models",
    "eval": "Evaluation",
    "engine": "Training",
}


def setup(app: Any) -> dict[str, bool]:
    """Make the pages before anything is read."""
    app.connect("builder-inited", lambda app: make_pages())
    return {"parallel_read_safe": True}


def make_pages() -> None:
    """Write all generated pages; those that are as they were stay untouched."""
    reference = list(_reference())
    links = "\n".join(f"   {name}" for name, _ in reference)
    index = (
        "API reference\n=============\n\nThe public names of each package, module by module.\n\n"
    )
    _write("api/index.rst", f"{index}.. toctree::\n   :maxdepth: 1\n\n{links}\n")
    for name, text in reference:
        _write(f"api/{name}.rst", text)
    _write("performance.md", performance_page())
    for notebook in sorted((DOCS / "notebooks").glob("*.ipynb")):
        _write(f"notebooks/{notebook.stem}.md", notebook_page(notebook))


def _write(name: str, text: str) -> None:
    path = DOCS / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


# -------------------------------------------------------------------- reference


def faces() -> list[str]:
    """Dotted names of the modules that list public names."""
    found = []
    for package in PACKAGES:
        source = ROOT / "packages" / f"d2-{package}" / "src"
        for file in sorted(source.rglob("__init__.py")):
            name = ".".join(file.parent.relative_to(source).parts)
            if "__all__" in file.read_text() and not name.startswith(LEFT_OUT):
                found.append(name)
    return sorted(
        {*found, *MODULE_FACES}, key=lambda name: (PACKAGES.index(name.split(".")[0][3:]), name)
    )


def _reference() -> Iterator[tuple[str, str]]:
    """For each face its name and the text of its page; each object is described once."""
    modules = {name: import_module(name) for name in faces()}
    homes: dict[int, tuple[str, str]] = {}
    # The innermost face is the home of what several list.
    for face in sorted(modules, key=lambda name: -name.count(".")):
        for name in _listed(face, modules[face]):
            homes.setdefault(id(getattr(modules[face], name)), (face, name))
    for face, module in modules.items():
        summary = (module.__doc__ or "").strip().partition("\n\n")[0]
        lines = [face, "=" * len(face), "", summary, "", f".. py:module:: {face}", ""]
        elsewhere = []
        for name in _listed(face, module):
            value = getattr(module, name)
            home = homes[id(value)]
            described = callable(value) and not _is_foreign(value)
            if not described or not getattr(value, "__doc__", None):
                lines += [f".. py:data:: {name}", "", *_origin(value), ""]
            elif home != (face, name) and home[0] != face:
                elsewhere.append(f":py:obj:`{name} <{home[0]}.{home[1]}>`")
            elif isinstance(value, type):
                lines += [f".. autoclass:: {face}.{name}", "   :members:", ""]
            else:
                lines += [f".. autofunction:: {face}.{name}", ""]
        if elsewhere:
            lines += ["Also listed here: " + ", ".join(elsewhere), ""]
        yield face, "\n".join(lines)


def _listed(face: str, module: Any) -> list[str]:
    names = getattr(module, "__all__", None)
    if names is None:
        names = [
            name
            for name, value in vars(module).items()
            if not name.startswith("_") and getattr(value, "__module__", "") == face
        ]
    return [n for n in names if not n.startswith("_") and not _is_module(getattr(module, n))]


def _is_module(value: object) -> bool:
    return type(value).__name__ == "module"


def _is_foreign(value: Any) -> bool:
    return not (getattr(value, "__module__", None) or "").startswith("d2_")


def _origin(value: Any) -> list[str]:
    """For what is another package's, where it is from."""
    module = getattr(value, "__module__", None)
    name = getattr(value, "__qualname__", "")
    return [f"   The same as ``{module}.{name}``."] if name and _is_foreign(value) else []


# ------------------------------------------------------------------ performance


def performance_page() -> str:
    """Tables of ``benchmarks/results``, each with its peer, machine and date."""
    lines = [
        "# Performance",
        "",
        "Made of the files in `benchmarks/results`. Each script of `benchmarks/` measures d2 and a"
        " peer alternately in one run: compare the ratios, which a busy machine changes little, and"
        " not the absolute figures. A ratio of 2 means that d2 takes half the time."
        " `nox -s bench -- TOPIC` measures again.",
        "",
    ]
    results = {
        path.stem: json.loads(path.read_text())
        for path in sorted((ROOT / "benchmarks" / "results").glob("*.json"))
    }
    for prefix, title in _TOPICS.items():
        found = {n: r for n, r in results.items() if n.partition("-")[0] == prefix and "rows" in r}
        if found:
            lines += [f"## {title}", ""]
        for name, result in found.items():
            lines += _result(name, result)
    return "\n".join(lines)


def _result(name: str, result: dict[str, Any]) -> Iterator[str]:
    environment = result.get("environment", {})
    versions = ", ".join(f"{k} {v}" for k, v in environment.get("versions", {}).items())
    peer = result.get("peer", "")
    yield f"### {name.partition('-')[2].replace('-', ' ')}"
    yield ""
    facts = [f"{result.get('unit', '')}", f"peer: {peer}" if peer else "", versions]
    facts += [f"{environment.get('cpus', '?')} CPU cores", environment.get("date", "")[:10]]
    yield "; ".join(filter(None, facts)) + "."
    yield ""
    rows = result["rows"]
    if isinstance(rows, list):
        rows = {str(row.get("name", place + 1)): row for place, row in enumerate(rows)}
    columns = list(dict.fromkeys(key for row in rows.values() for key in row))
    yield f"| | {' | '.join(columns)} |"
    yield f"|---|{'---:|' * len(columns)}"
    for title, row in rows.items():
        yield f"| {title} | {' | '.join(_figure(row.get(c), c) for c in columns)} |"
    yield ""


def _figure(value: Any, column: str) -> str:
    if isinstance(value, float):
        return f"{value:.2f} \u00d7" if column == "ratio" else f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(_figure(v, "") for v in value)
    return "" if value is None else str(value).replace("|", "\\|")


# -------------------------------------------------------------------- notebooks


def notebook_page(path: Path) -> str:
    """A notebook as a page: its texts, and its code as blocks."""
    parts = []
    for cell in json.loads(path.read_text())["cells"]:
        text = "".join(cell["source"])
        parts.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
    download = f"{{download}}`Download this notebook <{path.name}>`."
    return "\n\n".join([parts[0], download, *parts[1:], ""])
