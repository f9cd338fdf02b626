"""Jupyter notebooks: the cells of one are rewritten as the one program that they are."""

import ast
import json
import re
import warnings
from typing import Any, NamedTuple

from d2_engine.migrate.findings import Finding
from d2_engine.migrate.python_source import migrate_python
from d2_engine.migrate.requirements import dependencies

_MARK = "# d2-migrate, to be removed:"

# What IPython takes before Python sees it. Of cell magics these leave a cell that is Python.
_PYTHON_CELL = re.compile(r"\s*%%(?:time|timeit|capture|prun|memit|mprun)\b")
_MAGIC = re.compile(
    r"\s*(?:%%?[A-Za-z]|!|\?)|\s*[A-Za-z_][\w., ]*=\s*(?:![\w{$./]|%[A-Za-z])|\s*[%\w.]+\?{1,2}\s*$"
)


class _Cell(NamedTuple):
    number: int
    """Among all cells, from 1, as editors count them."""
    lines: list[str]
    """Without their ends."""


def migrate_notebook(content: bytes) -> tuple[bytes, list[Finding]]:
    """Rewrite the Python cells of a notebook; their outputs and all else stay as they are.

    Lines for IPython (``%time``, ``!pip …``) and cells in another language are left alone.

    Args:
        content: of the file.

    Returns:
        The new content, and what is left to a human, by line of the file.

    Raises:
        ValueError: if it is no notebook of format 4.
    """
    notebook = _read(content)
    cells = _python_cells(notebook)
    places = _places(content, notebook)
    findings: list[Finding] = []
    readable = []
    for cell in cells:
        for line in _magics(cell.lines):
            for _, what, why in dependencies(cell.lines[line]):
                findings.append(Finding(places[cell.number][line], what, why))
        error = _syntax_error(cell)
        if error is not None:
            line = min(error.lineno or 1, len(cell.lines))
            why = f"line {line} is no Python of today: {error.msg}"
            what = f"cell {cell.number}, left as it is"
            findings.append(Finding(places[cell.number][line - 1], what, why))
        else:
            readable.append(cell)
    program: list[str] = []
    origin: list[tuple[_Cell, int]] = []  # of each line of the program
    for cell in readable:
        program += [f"{_MARK} cell", *_without_magics(cell.lines)]
        origin += [(cell, line) for line in range(-1, len(cell.lines))]
    rewritten, found = migrate_python("".join(f"{line}\n" for line in program).encode())
    for line, what, why in found:
        cell, place = origin[line - 1]
        findings.append(Finding(places[cell.number][place], f"cell {cell.number}: {what}", why))
    texts = re.split(rf"^{re.escape(_MARK)} cell\n", rewritten.decode(), flags=re.MULTILINE)[1:]
    is_changed = False
    for cell, text in zip(readable, texts, strict=True):
        lines = _with_magics(text.removesuffix("\n").split("\n"), cell.lines)
        if lines != cell.lines:
            _put(notebook["cells"][cell.number - 1], "\n".join(lines))
            is_changed = True
    return (_written(notebook, content) if is_changed else content), sorted(findings)


def _read(content: bytes) -> dict[str, Any]:
    try:
        notebook = json.loads(content)
    except ValueError as error:
        raise ValueError(f"it is no notebook: {error}") from None
    if not isinstance(notebook, dict) or not isinstance(notebook.get("cells"), list):
        raise ValueError(
            "it is no notebook of format 4: jupyter nbconvert --to notebook --inplace makes it one"
        )
    return notebook


def _text(cell: Any) -> str:
    source = cell.get("source", "") if isinstance(cell, dict) else ""
    return "".join(source) if isinstance(source, list) else str(source)


def _python_cells(notebook: dict[str, Any]) -> list[_Cell]:
    if "python" not in _language(notebook):
        return []
    found = []
    for number, cell in enumerate(notebook["cells"], 1):
        text = _text(cell)
        is_other = text.lstrip().startswith("%%") and not _PYTHON_CELL.match(text)
        if isinstance(cell, dict) and cell.get("cell_type") == "code" and text and not is_other:
            found.append(_Cell(number, text.split("\n")))
    return found


def _language(notebook: dict[str, Any]) -> str:
    metadata = notebook.get("metadata")
    for key, name in (("language_info", "name"), ("kernelspec", "language")):
        found = metadata.get(key) if isinstance(metadata, dict) else None
        if isinstance(found, dict) and found.get(name):
            return str(found[name]).lower()
    return "python"


def _syntax_error(cell: _Cell) -> SyntaxError | None:
    flags = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    with warnings.catch_warnings(action="ignore"):
        try:
            compile("\n".join(_without_magics(cell.lines)), "cell", "exec", flags)
        except SyntaxError as error:
            return error
    return None


def _without_magics(lines: list[str]) -> list[str]:
    """Put a statement that does nothing, of the same depth, in place of each line for IPython."""
    python = list(lines)
    for place, indent in _magics(lines).items():
        python[place] = f"{indent}pass  {_MARK} {place}"
    return python


def _magics(lines: list[str]) -> dict[int, str]:
    """Which lines are for IPython, with their indentation; a backslash takes the next one along."""
    found: dict[int, str] = {}
    for place, line in enumerate(lines):
        if place - 1 in found and lines[place - 1].rstrip().endswith("\\"):
            found[place] = found[place - 1]
        elif _MAGIC.match(line):
            found[place] = line[: len(line) - len(line.lstrip())]
    return found


def _with_magics(lines: list[str], before: list[str]) -> list[str]:
    """Undo :func:`_without_magics`."""
    held = re.compile(rf"\s*pass  {re.escape(_MARK)} (\d+)")
    return [before[int(match[1])] if (match := held.fullmatch(line)) else line for line in lines]


def _put(cell: dict[str, Any], text: str) -> None:
    """Give a cell its new text, as one string or as a list of lines, whichever it was."""
    cell["source"] = text.splitlines(keepends=True) if isinstance(cell["source"], list) else text


def _places(content: bytes, notebook: dict[str, Any]) -> dict[int, list[int]]:
    """The line of the file in which each line of each cell stands, from 1, by number of cell."""
    file = content.decode()
    at = 0
    found: dict[int, list[int]] = {}
    for number, cell in enumerate(notebook["cells"], 1):
        lines = []
        at = max(at, file.find('"source"', at))
        for line in _text(cell).split("\n"):
            # Strings of JSON may be written with or without escapes; the file is in this order.
            forms = (json.dumps(line, ensure_ascii=is_ascii)[1:-1] for is_ascii in (False, True))
            here = [place for form in forms if (place := file.find(form, at)) >= 0]
            at = min(here, default=at)
            lines.append(file.count("\n", 0, at) + 1)
            at += len(line)
        found[number] = lines
    return found


def _written(notebook: dict[str, Any], before: bytes) -> bytes:
    """The text of a notebook, in the form in which it was written."""
    original = json.loads(before)
    end = "\n" if before.endswith(b"\n") else ""
    forms = [(indent, is_ascii) for indent in (1, 2, 4, None) for is_ascii in (False, True)]
    for indent, is_ascii in forms:
        if before.decode() == json.dumps(original, indent=indent, ensure_ascii=is_ascii) + end:
            break
    else:
        indent, is_ascii = 1, False
    return (json.dumps(notebook, indent=indent, ensure_ascii=is_ascii) + end).encode()
