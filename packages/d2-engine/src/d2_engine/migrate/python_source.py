"""Python files: imports, what they bind, and dotted names in strings."""

from collections.abc import Sequence

import libcst as cst
from libcst.metadata import MetadataWrapper

from d2_engine.migrate.destinations import ROOTS
from d2_engine.migrate.findings import Finding
from d2_engine.migrate.python_plan import PythonPlan
from d2_engine.migrate.survey import Survey


def migrate_python(source: bytes) -> tuple[bytes, list[Finding]]:
    """Rewrite a Python file.

    Args:
        source: its content.

    Returns:
        The new content, comments and formatting kept, and what is left to a human.

    Raises:
        ValueError: if it does not parse; says where.
    """
    if not any(root.encode() in source for root in (*ROOTS, "d2_engine.compat")):
        return source, []
    try:
        wrapper = MetadataWrapper(cst.parse_module(source), unsafe_skip_copy=True)
    except cst.ParserSyntaxError as error:
        raise ValueError(
            f"line {error.raw_line}: it is no Python of today: {error.message}"
        ) from None
    survey = Survey()
    wrapper.visit(survey)
    plan = PythonPlan(survey)
    rewritten = wrapper.module.visit(_Rewriter(plan))
    return rewritten.bytes, sorted(plan.findings)


class _Rewriter(cst.CSTTransformer):
    """Puts what is planned into its place."""

    def __init__(self, plan: PythonPlan) -> None:
        super().__init__()
        self._plan = plan

    def on_leave(
        self, original_node: cst.CSTNodeT, updated_node: cst.CSTNodeT
    ) -> cst.CSTNodeT | cst.RemovalSentinel | cst.FlattenSentinel[cst.CSTNodeT]:
        if original_node in self._plan.expressions:
            return self._plan.expressions[original_node]  # type: ignore[return-value]
        return super().on_leave(original_node, updated_node)

    def leave_SimpleStatementLine(
        self, original_node: cst.SimpleStatementLine, updated_node: cst.SimpleStatementLine
    ) -> cst.BaseStatement | cst.FlattenSentinel[cst.BaseStatement]:
        body = self._body(original_node.body, updated_node.body)
        comments = self._plan.comments.get(original_node.body[0], [])
        leading = [
            *updated_node.leading_lines,
            *(cst.EmptyLine(comment=cst.Comment(text)) for text in comments),
        ]
        if len(original_node.body) > 1 or len(body) == 1:
            return updated_node.with_changes(body=body, leading_lines=leading)
        lines = [cst.SimpleStatementLine([statement]) for statement in body]
        lines[0] = lines[0].with_changes(leading_lines=leading)
        lines[-1] = lines[-1].with_changes(trailing_whitespace=updated_node.trailing_whitespace)
        return cst.FlattenSentinel(lines)

    def leave_SimpleStatementSuite(
        self, original_node: cst.SimpleStatementSuite, updated_node: cst.SimpleStatementSuite
    ) -> cst.SimpleStatementSuite:
        return updated_node.with_changes(body=self._body(original_node.body, updated_node.body))

    def _body(
        self,
        original: Sequence[cst.BaseSmallStatement],
        updated: Sequence[cst.BaseSmallStatement],
    ) -> list[cst.BaseSmallStatement]:
        body: list[cst.BaseSmallStatement] = []
        for before, after in zip(original, updated, strict=True):
            body += self._plan.statements.get(before, [after])
        return body
