"""What is put in the place of which parts of a Python file."""

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

import libcst as cst

from d2_engine.migrate import destinations, new_imports
from d2_engine.migrate.destinations import ROOTS, Destination
from d2_engine.migrate.findings import Finding
from d2_engine.migrate.survey import ModuleUse, NameString, Survey, dotted_name

_ANY_ROOT = "d2_engine"
"""What an import of a whole package becomes that nothing is used of."""


class _Resolved(NamedTuple):
    found: Destination
    rest: tuple[str, ...]
    """Attributes of what was found."""


class PythonPlan:
    """Decides for each import, use and string.

    Args:
        survey: of the file.

    Attributes:
        statements: what takes the place of an import.
        comments: of the import, if its brackets go.
        expressions: what takes the place of a use or a string.
        findings: what is left to a human.
    """

    def __init__(self, survey: Survey) -> None:
        self.statements: dict[cst.CSTNode, list[cst.BaseSmallStatement]] = {}
        self.comments: dict[cst.CSTNode, list[str]] = {}
        self.expressions: dict[cst.CSTNode, cst.BaseExpression] = {}
        self.findings: dict[Finding, None] = {}
        self._survey = survey
        self._of_alias: dict[tuple[str, str], list[ModuleUse]] = defaultdict(list)
        self._of_root: dict[str, list[ModuleUse]] = defaultdict(list)
        aliases = set(self._module_aliases())
        for use in survey.uses:
            if (use.parts[0], use.module) in aliases:
                self._of_alias[use.parts[0], use.module].append(use)
            else:
                self._of_root[use.module].append(use)
        for node, line in survey.imports:
            self._plan_import(node, line)
        for string in survey.strings:
            self._plan_string(string)

    def _module_aliases(self) -> Iterable[tuple[str, str]]:
        """Local names that stand for modules of the tables, with these."""
        for node, _ in self._survey.imports:
            if isinstance(node.names, cst.ImportStar):
                continue
            for alias in node.names:
                name = alias.evaluated_name
                if isinstance(node, cst.ImportFrom):
                    name = f"{dotted_name(node.module)}.{name}"
                    if self._is_module(name):
                        yield alias.evaluated_alias or alias.evaluated_name, name
                elif alias.evaluated_alias and _is_ours(name):
                    yield alias.evaluated_alias, name

    @staticmethod
    def _is_module(name: str) -> bool:
        """Whether an import of this name gives a module, and not what hides it."""
        if not _is_ours(name) or not destinations.is_module(name):
            return False
        parent, _, leaf = name.rpartition(".")
        found = destinations.find(parent, leaf)
        return found is None or not found.attribute

    def _plan_import(self, node: cst.Import | cst.ImportFrom, line: int) -> None:
        if isinstance(node, cst.Import):
            self._plan_plain(node, line)
            return
        module = dotted_name(node.module)
        if not _is_ours(module):
            if module.startswith("d2_engine.compat"):
                self._note_compat(module, line)
            return
        if not destinations.is_module(module):
            self._note(line, module, destinations.lacking(module))
        elif isinstance(node.names, cst.ImportStar):
            self._plan_star(node, module, line)
        else:
            self._plan_from(node, node.names, module, line)

    def _plan_plain(self, node: cst.Import, line: int) -> None:
        statements: list[str] = []
        is_ours = False
        for alias in node.names:
            name, local = alias.evaluated_name, alias.evaluated_alias
            if name.startswith("d2_engine.compat"):
                self._note_compat(name, line)
            if _is_ours(name) and not destinations.is_module(name):
                self._note(line, name, destinations.lacking(name))
            elif _is_ours(name):
                is_ours = True
                if local:
                    statements += self._import_alias(name, local, as_from=False)
                else:
                    statements += self._import_root(name)
                continue
            statements.append(f"import {name} as {local}" if local else f"import {name}")
        if is_ours:
            self.statements[node] = new_imports.parsed(new_imports.joined(statements))

    def _plan_from(
        self, node: cst.ImportFrom, aliases: Iterable[cst.ImportAlias], module: str, line: int
    ) -> None:
        statements: list[str] = []
        named: list[Destination] = []
        for alias in aliases:
            name, local = alias.evaluated_name, alias.evaluated_alias
            if self._is_module(f"{module}.{name}"):
                statements += self._import_alias(f"{module}.{name}", local or name, as_from=True)
                continue
            found = self._find(module, name)
            if found is None:
                self._note(line, f"{module}.{name}", destinations.lacking(f"{module}.{name}"))
                statements.append(
                    f"from {module} import {name}" + (f" as {local}" if local else "")
                )
            elif found.attribute:
                self._note_bridge(line, f"{module}.{name}", found)
                named.append(found)
                statements += new_imports.of_name(found, local or name)
            else:
                statements.append(new_imports.of_module(found.module, local or name, as_from=True))
        same = new_imports.in_place(node, named) if len(named) == len(list(aliases)) else None
        if same is not None:
            self.statements[node] = [same]
        else:
            self.statements[node] = new_imports.parsed(new_imports.joined(statements))
            self.comments[node] = new_imports.comments_in(node)

    def _plan_star(self, node: cst.ImportFrom, module: str, line: int) -> None:
        statements = [f"from {face} import *" for face in destinations.everything_in(module)]
        for name in destinations.singly_named(module):
            found = destinations.find(module, name)
            if name in self._survey.names and found is not None and found.attribute:
                statements += new_imports.of_name(found, name)
        self._note(line, f"from {module} import *", "d2's modules list other names: name yours")
        if statements:
            self.statements[node] = new_imports.parsed(new_imports.joined(statements))

    def _import_alias(self, module: str, local: str, *, as_from: bool) -> list[str]:
        """Statements for a name that stands for a module, and the uses of it."""
        uses = self._of_alias[local, module]
        resolved = [(use, self._resolve(use)) for use in uses]
        objects = [r.found for _, r in resolved if r is not None and r.found.attribute]
        best = destinations.find_module(module, objects)
        statements = []
        is_whole_used = not uses
        for use, result in resolved:
            if len(use.parts) == 1 or result is None:
                is_whole_used = True
            elif best is not None and result.found.module == best.module:
                is_whole_used = True
                self._replace(use, ".".join([local, *_attributes(result)]))
            else:
                name, added = self._direct(result)
                statements += added
                self._replace(use, ".".join([name, *result.rest]))
        if not is_whole_used:
            return statements
        if best is None and uses:
            self._note(uses[0].line, module, "it stands for no single module of d2")
        whole = best.module if best is not None else _ANY_ROOT
        return [new_imports.of_module(whole, local, as_from=as_from), *statements]

    def _import_root(self, imported: str) -> list[str]:
        """Statements for ``import detectron2.config``, and the uses by their whole names."""
        root = imported.partition(".")[0]
        modules = []
        for use in self._of_root.pop(root, []):
            result = self._resolve(use)
            if result is not None:
                modules.append(result.found.module)
                self._replace(use, ".".join([result.found.dotted, *result.rest]))
        if modules:
            return [f"import {module}" for module in sorted(set(modules))]
        found = destinations.find_module(imported)
        return [f"import {found.module if found is not None else _ANY_ROOT}"]

    def _direct(self, result: _Resolved) -> tuple[str, list[str]]:
        """A name for what a use leads to, and the statements that bind it."""
        found = result.found
        if not found.attribute:
            return found.dotted, [f"import {found.module}"]
        local = found.attribute.rpartition(".")[2]
        if local in self._survey.names:
            local = f"d2_{local}"
        return local, new_imports.of_name(found, local)

    def _resolve(self, use: ModuleUse) -> _Resolved | None:
        """What a use leads to; None, and a finding, if d2 has nothing for it."""
        module, parts = use.module, [*use.parts[1:]]
        name = ".".join([module, *parts])
        if use.is_assigned:
            why = "it is assigned to: d2's own code may take the name from another module"
            self._note(use.line, name, why)
        while parts:
            part = parts.pop(0)
            if self._is_module(f"{module}.{part}"):
                module = f"{module}.{part}"
                continue
            found = self._find(module, part) if destinations.is_module(module) else None
            if found is None:
                self._note(use.line, name, destinations.lacking(f"{module}.{part}"))
                return None
            self._note_bridge(use.line, f"{module}.{part}", found)
            return _Resolved(found, tuple(parts))
        whole = destinations.find_module(module)
        if whole is None and len(use.parts) > 1:
            self._note(use.line, name, "it stands for no single module of d2")
        return None if whole is None else _Resolved(whole, ())

    def _plan_string(self, string: NameString) -> None:
        if string.is_logger:
            self._note(string.line, string.name, "the loggers of d2 have the names of its packages")
            return
        found = destinations.find_dotted(string.name)
        if found is None:
            self._note(string.line, string.name, destinations.lacking(string.name))
            return
        destinations.note_target_bridge(self.findings, string.line, string.name, found)
        text = string.node.value.replace(string.name, found.dotted)
        self.expressions[string.node] = string.node.with_changes(value=text)

    def _find(self, module: str, name: str) -> Destination | None:
        is_derived_from = f"{module}.{name}" in self._survey.derived_from
        return destinations.find(module, name, is_derived_from=is_derived_from)

    def _replace(self, use: ModuleUse, text: str) -> None:
        if text != ".".join(use.parts):
            self.expressions[use.node] = cst.parse_expression(text)

    def _note(self, line: int, what: str, why: str) -> None:
        self.findings[Finding(line, what, why)] = None

    def _note_compat(self, module: str, line: int) -> None:
        self._note(line, module, "not needed any more once nothing imports detectron2")

    def _note_bridge(self, line: int, name: str, found: Destination) -> None:
        if found.is_bridge:
            self._note(line, name, f"now {found.dotted}, a bridge: {found.bridged}")


def _attributes(result: _Resolved) -> list[str]:
    return [*filter(None, [result.found.attribute]), *result.rest]


def _is_ours(name: str) -> bool:
    return name.partition(".")[0] in ROOTS
