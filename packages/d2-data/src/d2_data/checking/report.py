"""What a check says, as an object and as JSON."""

import json
from collections import Counter, defaultdict
from typing import Any

import attrs

from d2_data.checking.content import CheckedContent
from d2_data.checking.findings import KINDS, Finding
from d2_data.checking.statistics import Statistics


@attrs.frozen
class DatasetReport:
    """What was found about a dataset.

    Attributes:
        name: of the dataset, or its file.
        statistics: what it consists of.
        findings: the graver first, otherwise in the order of the dataset.
        seconds: that the check took.
    """

    name: str
    statistics: Statistics
    findings: tuple[Finding, ...]
    seconds: float
    _content: CheckedContent = attrs.field(repr=False, eq=False)

    @property
    def content(self) -> CheckedContent:
        """The dataset, as far as it could be understood."""
        return self._content

    @property
    def has_errors(self) -> bool:
        """Whether there is something that stops training or evaluation, or makes it wrong."""
        return any(finding.severity == "error" for finding in self.findings)

    def counts(self) -> dict[str, int]:
        """How many findings there are of each kind that there is any of, the graver first."""
        counts = Counter(finding.kind for finding in self.findings)
        return {kind: counts[kind] for kind in KINDS if counts[kind]}

    def by_kind(self) -> dict[str, list[Finding]]:
        """The findings of each kind that there is any of, the graver first."""
        grouped: defaultdict[str, list[Finding]] = defaultdict(list)
        for finding in self.findings:
            grouped[finding.kind].append(finding)
        return {kind: grouped[kind] for kind in KINDS if kind in grouped}

    def to_json(self) -> str:
        """The report as text: statistics, numbers of findings, and all of them."""
        return json.dumps(self.as_dict(), indent=1, ensure_ascii=False, default=str)

    def as_dict(self) -> dict[str, Any]:
        """The report in plain containers."""
        return {
            "name": self.name,
            "seconds": round(self.seconds, 2),
            "statistics": attrs.asdict(self.statistics),
            "counts": self.counts(),
            "findings": [
                {"severity": finding.severity, **attrs.asdict(finding)} for finding in self.findings
            ],
        }
