"""Links of READMEs, which are relative to the repository, lead to the pages that hold them."""

import re
from typing import Any

_LINK = re.compile(
    r"\]\((?:\.\./)*(packages/(d2-\w+)(?:/README\.md)?|SECURITY\.md|CONTRIBUTING\.md|"
    r"docs/architecture\.md)\)"
)
_PAGES = {
    "SECURITY.md": "/security.md",
    "CONTRIBUTING.md": "/contributing.md",
    "docs/architecture.md": "/architecture.md",
}


def _page(match: re.Match[str]) -> str:
    return f"]({_PAGES.get(match[1]) or f'/packages/{match[2]}.md'})"


def _rewrite(app: Any, relative_path: Any, parent: str, content: list[str]) -> None:
    content[0] = re.sub(r"^```python notest$", "```python", content[0], flags=re.MULTILINE)
    content[0] = _LINK.sub(_page, content[0])


def setup(app: Any) -> dict[str, bool]:
    """Rewrite what pages include."""
    app.connect("include-read", _rewrite)
    app.connect("source-read", lambda app, name, content: _rewrite(app, name, name, content))
    return {"parallel_read_safe": True}
