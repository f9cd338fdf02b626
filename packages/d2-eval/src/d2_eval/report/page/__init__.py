"""The page of a report: its template, style and scripts, put together in one file."""

from d2_eval.report.page.assembly import assemble

__all__ = ["assemble"]
