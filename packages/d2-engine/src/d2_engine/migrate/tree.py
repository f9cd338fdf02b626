"""Files and folders that are migrated."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from d2_engine.migrate.findings import Finding, Migrated
from d2_engine.migrate.requirements import dependencies

_PYTHON = (".py", ".pyi")
_YAML = (".yaml", ".yml")
_NOTEBOOK = ".ipynb"
_REQUIREMENTS = re.compile(
    r"requirements.*\.(?:txt|in)|setup\.(?:py|cfg)|pyproject\.toml|environment.*\.ya?ml|Dockerfile.*"
)
_SKIPPED = ("__pycache__", "node_modules", "build", "dist", "site-packages")


def migrate_tree(path: str | os.PathLike[str]) -> list[Migrated]:
    """Migrate a file, or a folder's Python, notebooks, YAML and requirements; writes nothing.

    Hidden folders, virtual environments and what was built are left out, and so are symbolic links.

    Args:
        path: the file or folder.

    Returns:
        What came of each file that is changed or leaves something to a human, by path.

    Raises:
        FileNotFoundError: if there is no such path.
        ImportError: if libcst is not installed; names the extra.
    """
    root = Path(path)
    if not root.exists():
        raise FileNotFoundError(f"there is no {root}")
    files = [root] if root.is_file() else sorted(_files(root))
    migrated = [migrate_file(file) for file in files]
    return [file for file in migrated if file.is_changed or file.findings]


def migrate_file(path: str | os.PathLike[str]) -> Migrated:
    """Migrate one file; writes nothing.

    Raises:
        ImportError: if libcst is not installed; names the extra.
        ValueError: if the file is neither Python, YAML, a notebook nor a list of requirements.
    """
    file = Path(path)
    content = file.read_bytes()
    findings: list[Finding] = []
    after = content
    is_requirements = _REQUIREMENTS.fullmatch(file.name) is not None
    if file.suffix not in (*_PYTHON, *_YAML, _NOTEBOOK) and not is_requirements:
        raise ValueError(f"{file} is neither Python, YAML, a notebook nor a list of requirements")
    try:
        if file.suffix in (*_PYTHON, _NOTEBOOK):
            after, findings = _python(content, is_notebook=file.suffix == _NOTEBOOK)
        elif file.suffix in _YAML:
            from d2_engine.migrate.yaml_targets import migrate_yaml

            after, findings = migrate_yaml(content)
    except ValueError as error:
        findings = [Finding(1, "the whole file", str(error))]
    if is_requirements:
        findings += dependencies(content.decode("utf-8", "replace"))
    return Migrated(file, content, after, tuple(sorted(findings)))


def _python(content: bytes, is_notebook: bool) -> tuple[bytes, list[Finding]]:
    try:
        from d2_engine.migrate.notebook import migrate_notebook
        from d2_engine.migrate.python_source import migrate_python
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "libcst":
            raise
        raise ImportError(
            "migrating needs libcst, which is not installed: pip install 'd2-engine[migrate]'"
        ) from error
    return migrate_notebook(content) if is_notebook else migrate_python(content)


def _files(root: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if _is_source(Path(folder, name))]
        for name in names:
            file = Path(folder, name)
            wanted = file.suffix in (*_PYTHON, *_YAML, _NOTEBOOK) or _REQUIREMENTS.fullmatch(name)
            if wanted and not file.is_symlink():
                yield file


def _is_source(folder: Path) -> bool:
    if folder.name.startswith(".") or folder.name in _SKIPPED or folder.name.endswith(".egg-info"):
        return False
    return not folder.is_symlink() and not (folder / "pyvenv.cfg").exists()
