"""What a Python file uses of detectron2, fvcore and iopath, found before anything is rewritten."""

import re
from typing import Any, NamedTuple

import libcst as cst
from libcst.metadata import (
    ParentNodeProvider,
    PositionProvider,
    QualifiedNameProvider,
    QualifiedNameSource,
)

from d2_engine.migrate.destinations import ROOTS, is_module

DOTTED = re.compile(rf"(?:{'|'.join(ROOTS)})(?:\.\w+)+")
"""A dotted name, as strings hold it."""

_LOGGERS = ("getLogger", "setup_logger")


class ModuleUse(NamedTuple):
    """An expression that begins with a module: ``T.Resize`` or ``detectron2.config.get_cfg``."""

    node: cst.BaseExpression
    parts: tuple[str, ...]
    """As it stands: the name that it begins with, and attributes."""
    module: str
    """What the first part is: a module of the tables or a package of them."""
    line: int
    is_assigned: bool


class NameString(NamedTuple):
    """A string that is a dotted name and nothing else."""

    node: cst.SimpleString
    name: str
    line: int
    is_logger: bool


class Survey(cst.CSTVisitor):
    """Collects uses, strings, classes derived from, and all names that are taken."""

    METADATA_DEPENDENCIES = (QualifiedNameProvider, PositionProvider, ParentNodeProvider)

    def __init__(self) -> None:
        super().__init__()
        self.imports: list[tuple[cst.Import | cst.ImportFrom, int]] = []
        self.uses: list[ModuleUse] = []
        self.strings: list[NameString] = []
        self.derived_from: set[str] = set()
        self.names: set[str] = set()
        self._assigned: set[cst.CSTNode] = set()

    def visit_Import(self, node: cst.Import) -> bool:
        self.imports.append((node, self.line(node)))
        return False

    def visit_ImportFrom(self, node: cst.ImportFrom) -> bool:
        if not node.relative:
            self.imports.append((node, self.line(node)))
        return False

    def visit_ClassDef(self, node: cst.ClassDef) -> None:
        for base in node.bases:
            self.derived_from.update(self._imported_as(base.value))

    def visit_AssignTarget(self, node: cst.AssignTarget) -> None:
        self._assigned.add(node.target)

    def visit_Attribute(self, node: cst.Attribute) -> bool:
        parts = _chain(node)
        if parts is None:
            return True
        self.names.add(parts[0])
        self._note(node, parts)
        return False

    def visit_Name(self, node: cst.Name) -> None:
        self.names.add(node.value)
        self._note(node, (node.value,))

    def visit_SimpleString(self, node: cst.SimpleString) -> None:
        text = node.evaluated_value
        if isinstance(text, str) and DOTTED.fullmatch(text):
            self.strings.append(NameString(node, text, self.line(node), self._names_a_logger(node)))

    def line(self, node: cst.CSTNode) -> int:
        """Where a node begins."""
        found: int = self.get_metadata(PositionProvider, node).start.line
        return found

    def _note(self, node: cst.BaseExpression, parts: tuple[str, ...]) -> None:
        for name in self._imported_as(node):
            whole = name.split(".")
            module = ".".join(whole[: len(whole) - len(parts) + 1])
            if module in ROOTS or is_module(module):
                is_assigned = node in self._assigned
                self.uses.append(ModuleUse(node, parts, module, self.line(node), is_assigned))
                return

    def _imported_as(self, node: cst.CSTNode) -> list[str]:
        found: Any = self.get_metadata(QualifiedNameProvider, node, ())
        names = sorted(q.name for q in found if q.source is QualifiedNameSource.IMPORT)
        return [name for name in names if name.partition(".")[0] in ROOTS]

    def _names_a_logger(self, node: cst.CSTNode) -> bool:
        argument = self.get_metadata(ParentNodeProvider, node)
        call = self.get_metadata(ParentNodeProvider, argument)
        if not isinstance(argument, cst.Arg) or not isinstance(call, cst.Call):
            return False
        function = call.func
        called = function.attr if isinstance(function, cst.Attribute) else function
        return isinstance(called, cst.Name) and called.value in _LOGGERS


def _chain(node: cst.BaseExpression) -> tuple[str, ...] | None:
    """The parts of ``a.b.c``; None for what does not begin with a name."""
    parts: list[str] = []
    while isinstance(node, cst.Attribute):
        parts.append(node.attr.value)
        node = node.value
    if not isinstance(node, cst.Name):
        return None
    return (node.value, *reversed(parts))


def dotted_name(node: cst.BaseExpression | None) -> str:
    """The text of the module of an import; empty for none."""
    return ".".join(_chain(node) or ()) if node is not None else ""
