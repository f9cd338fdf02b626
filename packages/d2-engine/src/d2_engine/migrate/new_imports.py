"""Import statements of migrated code, as text and as syntax trees."""

from collections.abc import Iterable, Sequence

import libcst as cst
from libcst import matchers

from d2_engine.migrate.destinations import Destination

_LINE_LENGTH = 88


def of_name(found: Destination, local: str) -> list[str]:
    """Statements that bind a name of a module; an attribute of a class takes a second one."""
    first, _, rest = found.attribute.partition(".")
    if rest:
        return [f"from {found.module} import {first}", f"{local} = {found.attribute}"]
    return [f"from {found.module} import {_renamed(first, local)}"]


def of_module(module: str, local: str, *, as_from: bool) -> str:
    """The statement that binds a module to a name."""
    parent, _, leaf = module.rpartition(".")
    if parent and as_from:
        return f"from {parent} import {_renamed(leaf, local)}"
    return f"import {_renamed(module, local)}"


def joined(statements: Iterable[str]) -> list[str]:
    """Statements without repetitions, those that import from one module as one."""
    names: dict[str, list[str]] = {}
    for statement in dict.fromkeys(statements):
        head, is_from, name = statement.partition(" import ")
        if is_from and head.startswith("from ") and name != "*":
            names.setdefault(head, []).append(name)
        else:
            names[statement] = []
    return [_from(head, found) if found else head for head, found in names.items()]


def parsed(statements: Iterable[str]) -> list[cst.BaseSmallStatement]:
    """Syntax trees of statements, each of one line or one in brackets."""
    trees = []
    for statement in statements:
        tree = cst.parse_statement(statement)
        assert isinstance(tree, cst.SimpleStatementLine)
        trees.append(tree.body[0])
    return trees


def in_place(node: cst.ImportFrom, found: Sequence[Destination]) -> cst.ImportFrom | None:
    """The same statement with other names; None where they are not all of one module."""
    if isinstance(node.names, cst.ImportStar) or len({d.module for d in found}) != 1:
        return None
    if any("." in destination.attribute for destination in found):
        return None
    aliases = []
    for alias, destination in zip(node.names, found, strict=True):
        local = alias.evaluated_alias or alias.evaluated_name
        if alias.asname is None and destination.attribute != local:
            alias = alias.with_changes(asname=cst.AsName(cst.Name(local)))
        aliases.append(alias.with_changes(name=cst.Name(destination.attribute)))
    module = cst.parse_expression(found[0].module)
    return node.with_changes(module=module, names=aliases)


def comments_in(node: cst.CSTNode) -> list[str]:
    """The comments inside of a statement in brackets."""
    found = matchers.findall(node, matchers.Comment())
    return [cst.ensure_type(comment, cst.Comment).value for comment in found]


def _renamed(name: str, local: str) -> str:
    return name if name == local else f"{name} as {local}"


def _from(head: str, names: Sequence[str]) -> str:
    line = f"{head} import {', '.join(names)}"
    if len(line) <= _LINE_LENGTH:
        return line
    return "\n".join([f"{head} import (", *(f"    {name}," for name in names), ")"])
