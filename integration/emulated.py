"""A plugin of pytest for processors that are emulated, at a twentieth of a real one's speed.

``-p emulated`` draws few examples of each property, and skips tests that take minutes there and
ask nothing of the processor.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

MOST_EXAMPLES = 10
# By what is in their names, and why another processor would not change what they find.
LEFT_OUT = {
    r"_in_one_graph|_exports_with|_an_export|test_opcheck": "torch traces it, in Python alone",
    r"test_comm\.py": "processes that import torch, each for a minute, and talk as torch does",
    "test_an_expanded_argument_that_no_memory_holds": "an emulator notes each page of its 16 TiB",
    r"test_preconditions\.py|test_load_library_registers": "processes that import torch",
}


@pytest.hookimpl(tryfirst=True)
def pytest_configure() -> None:
    """Before test modules are imported, whose decorators ask for examples."""
    plain = settings.get_profile("ci")
    checks = list(HealthCheck)
    settings.register_profile(
        "emulated", plain, max_examples=MOST_EXAMPLES, suppress_health_check=checks
    )
    settings.load_profile("emulated")
    _limit_examples()


def _limit_examples() -> None:
    """Let no test ask for more: what its own settings say goes before a profile."""
    made = settings.__init__

    def limited(self: settings, *parents: Any, **wanted: Any) -> None:
        if "max_examples" in wanted:
            wanted["max_examples"] = min(wanted["max_examples"], MOST_EXAMPLES)
        made(self, *parents, **wanted)

    settings.__init__ = limited  # type: ignore[method-assign]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip with a reason, so that reports tell."""
    for item in items:
        for pattern, reason in LEFT_OUT.items():
            if re.search(pattern, item.nodeid):
                item.add_marker(pytest.mark.skip(reason=f"left out where emulated: {reason}"))
