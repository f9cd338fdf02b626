"""A report as one HTML page that needs nothing else."""

from collections.abc import Iterator, Mapping
from html import escape

from d2_data.checking.findings import KINDS, Finding
from d2_data.checking.report import DatasetReport
from d2_data.checking.table import verdict

_MOST_FINDINGS = 500

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2330; --faint: #68707d; --line: #dde1e7;
  --plate: #f6f7f9; --error: #c0392b; --warning: #b9770e; --note: #2471a3; --bar: #5b8def; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --faint: #9aa3b0; --line: #343b47;
  --plate: #1d222b; --error: #ff7b6b; --warning: #f0b34c; --note: #6db3e8; --bar: #5b8def; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); max-width: 62rem;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: .2rem; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin-top: 2rem; }
.verdict { color: var(--faint); margin-top: 0; }
.facts { display: flex; flex-wrap: wrap; gap: .8rem; margin: 1rem 0; }
.fact { background: var(--plate); border: 1px solid var(--line); border-radius: .5rem;
  padding: .5rem .9rem; }
.fact b { display: block; font-size: 1.25rem; font-variant-numeric: tabular-nums; }
.fact span { color: var(--faint); font-size: .85rem; }
details { border: 1px solid var(--line); border-radius: .5rem; margin: .5rem 0;
  background: var(--plate); }
summary { cursor: pointer; padding: .5rem .9rem; }
summary b { display: inline-block; min-width: 3.5rem; text-align: right; margin-right: .6rem;
  font-variant-numeric: tabular-nums; }
.tag { display: inline-block; min-width: 4.6rem; font-size: .8rem; font-weight: 600; }
.error .tag { color: var(--error); } .warning .tag { color: var(--warning); }
.note .tag { color: var(--note); }
.remedy { color: var(--faint); padding: 0 .9rem .3rem 1.9rem; margin: 0; }
ol { max-height: 24rem; overflow: auto; margin: 0; padding: .3rem 1rem .8rem 3.2rem;
  font-size: .9rem; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
td { padding: .12rem .5rem; } td.name { white-space: nowrap; width: 1%; }
td.count { text-align: right; width: 1%; font-variant-numeric: tabular-nums; }
td.bar i { display: block; height: .75rem; border-radius: .2rem; background: var(--bar); }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr));
  gap: 0 2rem; }
"""


def report_page(report: DatasetReport) -> str:
    """Write a report as an HTML page: findings to unfold, and histograms.

    Args:
        report: what was found.
    """
    return "\n".join(_parts(report))


def _parts(report: DatasetReport) -> Iterator[str]:
    statistics = report.statistics
    yield "<!doctype html>"
    yield '<html lang="en"><head><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{escape(report.name)}: dataset check</title><style>{_STYLE}</style></head><body>"
    yield f"<h1>{escape(report.name)}</h1>"
    yield f'<p class="verdict">{escape(verdict(report))}, checked in {report.seconds:.1f} s</p>'
    yield '<div class="facts">'
    for count, name in (
        (statistics.images, "images"),
        (statistics.objects, "objects"),
        (len(statistics.objects_per_class), "classes"),
        (statistics.crowds, "regions of crowds"),
    ):
        yield f'<div class="fact"><b>{count:,}</b><span>{name}</span></div>'
    yield "</div>"
    yield "<h2>Findings</h2>"
    if not report.findings:
        yield "<p>Nothing was found.</p>"
    for kind, findings in report.by_kind().items():
        yield from _kind(kind, findings)
    yield '<div class="columns">'
    for title, counts in (
        ("Objects of each class", statistics.objects_per_class),
        ("Objects by the square root of their area, pixels", statistics.objects_per_side),
        ("Objects by COCO's sizes", statistics.objects_per_size),
        ("Images by their number of objects", statistics.objects_per_image),
        ("Sizes of images", statistics.image_sizes),
    ):
        yield from _histogram(title, counts)
    yield "</div></body></html>"


def _kind(kind: str, findings: list[Finding]) -> Iterator[str]:
    severity, title, remedy = KINDS[kind]
    unfolded = " open" if severity == "error" else ""
    yield f'<details class="{severity}"{unfolded}><summary><b>{len(findings):,}</b>'
    yield f'<span class="tag">{severity}</span>{escape(title)}</summary>'
    yield f'<p class="remedy">{escape(remedy)}</p><ol>'
    for finding in findings[:_MOST_FINDINGS]:
        yield f"<li>{escape(finding.subject)} {escape(finding.message)}</li>"
    if len(findings) > _MOST_FINDINGS:
        yield f"<li>and {len(findings) - _MOST_FINDINGS:,} more: the JSON report has all</li>"
    yield "</ol></details>"


def _histogram(title: str, counts: Mapping[str, int]) -> Iterator[str]:
    most = max(counts.values(), default=0) or 1
    yield f"<section><h2>{escape(title)}</h2><table>"
    for name, count in counts.items():
        bar = f'<i style="width:{100 * count / most:.1f}%"></i>' if count else ""
        yield (
            f'<tr><td class="name">{escape(name)}</td><td class="count">{count:,}</td>'
            f'<td class="bar">{bar}</td></tr>'
        )
    yield "</table></section>"
