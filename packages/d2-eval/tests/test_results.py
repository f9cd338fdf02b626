import logging
import math
from types import SimpleNamespace

import pytest

from d2_eval import flatten_results_dict, print_csv_format, verify_results

RESULTS = {"bbox": {"AP": 12.5, "AP50": 30.0, "AP-cat": 9.0}, "speed": 3}


def test_csv_lines_can_be_pasted(caplog):
    with caplog.at_level(logging.INFO, logger="d2_eval"):
        print_csv_format(RESULTS)
    assert [record.getMessage() for record in caplog.records] == [
        "copypaste: Task: bbox",
        "copypaste: AP,AP50",
        "copypaste: 12.5000,30.0000",
        "copypaste: speed=3",
    ]


def test_csv_of_something_else_is_an_error():
    with pytest.raises(TypeError, match="list"):
        print_csv_format([1, 2])


def test_nested_results_are_joined_with_slashes():
    assert flatten_results_dict(RESULTS) == {
        "bbox/AP": 12.5,
        "bbox/AP50": 30.0,
        "bbox/AP-cat": 9.0,
        "speed": 3,
    }


def test_results_within_their_tolerance_are_accepted():
    config = SimpleNamespace(TEST=SimpleNamespace(EXPECTED_RESULTS=[["bbox", "AP", 12.0, 0.5]]))
    assert verify_results(config, RESULTS)


def test_no_expectations_are_met_by_anything():
    assert verify_results([], {})


@pytest.mark.parametrize(
    ("expected", "message"),
    [
        (["bbox", "AP", 13.5, 0.5], r"bbox/AP is 12\.5, wanted 13\.5"),
        (["segm", "AP", 1.0, 0.5], "segm/AP is missing"),
        (["bbox", "AP75", 1.0, 0.5], "bbox/AP75 is missing"),
    ],
)
def test_results_that_differ_are_listed(expected, message):
    with pytest.raises(ValueError, match=message):
        verify_results([expected], RESULTS)


def test_nan_meets_no_expectation():
    with pytest.raises(ValueError, match="nan"):
        verify_results([["bbox", "AP", 1.0, 100.0]], {"bbox": {"AP": math.nan}})
