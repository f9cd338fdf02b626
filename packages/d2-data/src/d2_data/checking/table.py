"""A report as text for the terminal."""

from collections.abc import Iterator, Mapping, Sequence

from d2_data.checking.findings import KINDS, Finding
from d2_data.checking.report import DatasetReport

_BAR = 24
_MOST_CLASSES = 30


def report_table(report: DatasetReport, *, examples: int = 3) -> str:
    """Findings by kind, with examples, and histograms of classes and sizes.

    Args:
        report: what was found.
        examples: how many findings of each kind are written out.
    """
    return "\n".join(_lines(report, examples))


def _lines(report: DatasetReport, examples: int) -> Iterator[str]:
    statistics = report.statistics
    yield (
        f"{report.name}: {statistics.images} images, {statistics.objects} objects of "
        f"{len(statistics.objects_per_class)} classes"
        + (f", {statistics.crowds} regions of crowds" if statistics.crowds else "")
    )
    for kind, findings in report.by_kind().items():
        yield ""
        yield f"{KINDS[kind].severity:7}  {len(findings):6}  {KINDS[kind].title}"
        for finding in findings[:examples]:
            yield f"{'':17}{_line(finding)}"
        if len(findings) > examples:
            yield f"{'':17}and {len(findings) - examples} more"
        yield f"{'':17}→ {KINDS[kind].remedy}"
    yield ""
    classes = statistics.objects_per_class
    shown = dict(sorted(classes.items(), key=lambda item: -item[1])[:_MOST_CLASSES])
    yield from _histogram("objects of each class", shown)
    if len(classes) > len(shown):
        yield f"  and {len(classes) - len(shown)} classes with fewer"
    yield ""
    yield from _histogram("objects by the square root of their area", statistics.objects_per_side)
    yield ""
    rate = statistics.images / report.seconds if report.seconds else 0.0
    yield f"{verdict(report)} ({report.seconds:.1f} s, {rate:.0f} images/s)"


def verdict(report: DatasetReport) -> str:
    """How many findings of each severity there are."""
    counts = {"error": 0, "warning": 0, "note": 0}
    for finding in report.findings:
        counts[finding.severity] += 1
    if not (counts["error"] or counts["warning"]):
        return "nothing wrong was found"
    parts = [f"{n} {name}{'' if n == 1 else 's'}" for name, n in counts.items() if n]
    return ", ".join(parts)


def _line(finding: Finding) -> str:
    text = f"{finding.subject} {finding.message}"
    return text if len(text) <= 160 else text[:159] + "…"


def _histogram(title: str, counts: Mapping[str, int]) -> Iterator[str]:
    yield title
    if not counts:
        yield "  none"
        return
    most = max(counts.values()) or 1
    width = max(map(len, counts))
    for name, count in _without_empty_ends(list(counts.items())):
        bar = "█" * round(_BAR * count / most) or ("▏" if count else "")
        yield f"  {name:<{width}}  {count:>8}  {bar}".rstrip()


def _without_empty_ends(items: Sequence[tuple[str, int]]) -> Sequence[tuple[str, int]]:
    filled = [place for place, (_, count) in enumerate(items) if count]
    return items[filled[0] : filled[-1] + 1] if filled else items[:0]
