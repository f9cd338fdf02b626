"""Checking datasets before anything is trained on them, and mending what can be mended safely."""

from d2_data.checking.check import check_dataset
from d2_data.checking.findings import KINDS, Finding, Kind, Severity
from d2_data.checking.page import report_page
from d2_data.checking.repair import Repair, repaired_content, write_repaired
from d2_data.checking.report import DatasetReport
from d2_data.checking.statistics import Statistics
from d2_data.checking.table import report_table

__all__ = [
    "KINDS",
    "DatasetReport",
    "Finding",
    "Kind",
    "Repair",
    "Severity",
    "Statistics",
    "check_dataset",
    "repaired_content",
    "report_page",
    "report_table",
    "write_repaired",
]
