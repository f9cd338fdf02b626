"""From notes to results, and from results to goals."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import collect
import device_tests
import host_waits
import pytest
import record
import table
from goals import GOALS, outcomes, strictest
from torch.autograd import DeviceType

REPORT = """<testsuites><testsuite>
<testcase classname="a" name="good"/>
<testcase classname="a" name="bad"><failure message="not so">trace</failure></testcase>
<testcase classname="a" name="broken"><error message="no fixture">trace</error></testcase>
<testcase classname="a" name="idle"><skipped message="no CUDA device"/></testcase>
</testsuite></testsuites>"""


def figure(step: str, name: str, mode: str, ratio: float | None, **more: Any) -> dict[str, Any]:
    times = {"ours": 1e-3, "peer": None if ratio is None else ratio * 1e-3, "ratio": ratio}
    return {"step": step, "name": name, "mode": mode, "what": "some size", **times, **more}


FIGURES = [
    figure("operators", "nms", "forward", 0.9),
    figure("operators", "roi_align", "forward", 1.6),
    figure("operators", "roi_align", "backward", 1.4),
    figure("operators", "roi_align_rotated", "forward", None),
    figure("models", "mask_rcnn", "training", 1.7, images_per_second=40.0),
    figure("models", "mask_rcnn", "training", 1.6, images_per_second=70.0),
    {"step": "operators", "name": "roi_pool", "mode": None, "what": "", "error": "RuntimeError()"},
]


def test_goals_are_decided_by_the_worst_figure_or_the_best_where_one_is_enough() -> None:
    found = {outcome.goal.says: outcome for outcome in outcomes(FIGURES)}
    assert len(found) == len(GOALS)
    none_slower = found["no operator slower than torchvision's at any size"]
    assert none_slower.figure is FIGURES[0]
    assert none_slower.met is False
    assert found["roi_align"].figure is FIGURES[2]
    assert found["Mask R-CNN training"].met is True
    assert found["Mask R-CNN training on one card, images/s"].figure is FIGURES[5]
    assert found["Mask R-CNN training on one card, images/s"].met is True
    assert found["batched_nms"].met is None


def test_a_figure_is_held_against_its_strictest_goal() -> None:
    assert [g.at_least if (g := strictest(f)) else None for f in FIGURES] == [
        1,
        1.5,
        1.5,
        None,
        1.5,
        1.5,
        None,
    ]


def document(**environment: Any) -> dict[str, Any]:
    entries = [
        {"kind": "environment", "card": "NVIDIA H200", "date": "today", **environment},
        {"kind": "environment", "copy_bytes_per_second": 4e12},
        {"kind": "step", "name": "tests", "limit": 85, "seconds": 9, "status": 1},
        {"kind": "step", "name": "training", "limit": 40, "seconds": 0, "status": None},
        {
            "kind": "tests",
            "files": ["x/test_a.py"],
            "status": 1,
            "seconds": 3.0,
            "passed": 4,
            "failed": 1,
            "skipped": 2,
            "failures": [{"test": "a.bad", "says": "not so"}],
        },
        {"kind": "sanitizer", "tool": "memcheck", "status": 0, "says": ["ERROR SUMMARY: 0 errors"]},
        *({"kind": "figure", **f} for f in FIGURES),
    ]
    return collect.results(entries)


def test_the_table_shows_goals_beside_figures_and_what_failed() -> None:
    text = "\n".join(table.lines(document()))
    assert "NVIDIA H200" in text
    assert "tests: 4 passed, 1 failed, 2 skipped" in text
    assert "a.bad: ['not so']" in text
    assert "training   cut" in text
    assert "0.90x    1x!" in text
    assert "1.60x   1.5x " in text
    assert "failed" in text
    assert "RuntimeError()" in text
    assert "met     Mask R-CNN training on one card, images/s: at least 62; best 70.00" in text
    assert "missed  roi_align: at least 1.5x torchvision; worst 1.40" in text


def test_a_dry_run_meets_and_misses_nothing() -> None:
    text = "\n".join(table.lines(document(dry=True)))
    assert "No figure below is one of a device" in text
    assert "  met" not in text
    assert "missed" not in text


def test_without_results_the_table_says_that_nothing_has_run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(table, "KEPT", tmp_path)
    assert table.main([]) == 0
    assert "Nothing has run on a device yet" in capsys.readouterr().out


def test_kept_results_can_be_printed() -> None:
    for path in table.KEPT.glob("*.json"):
        assert list(table.lines(json.loads(path.read_text())))


def test_results_are_kept_under_the_name_of_the_card(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    notes = tmp_path / "record.jsonl"
    notes.write_text('{"kind": "environment", "card": "NVIDIA H200 (x)"}\n')
    collect.main([str(notes), str(tmp_path)])
    path = tmp_path / "nvidia-h200-x.json"
    assert json.loads(path.read_text())["environment"]["card"] == "NVIDIA H200 (x)"
    assert capsys.readouterr().out == f"{path}\n"


def test_a_note_that_was_cut_off_does_not_spoil_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "record.jsonl"
    monkeypatch.setenv("D2_GPU_RECORD", str(path))
    record.note("figure", ours=1.5)
    with path.open("a") as file:
        file.write('{"kind": "fig')
    assert record.read(path) == [{"kind": "figure", "ours": 1.5}]
    assert record.read(tmp_path / "none") == []


def test_reports_of_pytest_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "report.xml"
    path.write_text(REPORT)
    found = device_tests.counts(path)
    assert (found["passed"], found["failed"], found["skipped"]) == (1, 2, 1)
    assert found["failures"] == [
        {"test": "a.bad", "says": "not so"},
        {"test": "a.broken", "says": "no fixture"},
    ]
    assert device_tests.counts(tmp_path / "none")["passed"] == 0


def test_every_package_with_device_code_has_tests_for_it() -> None:
    packages = {path.parts[-3] for path in device_tests.files()}
    assert packages >= {"d2-ops", "d2-structures", "d2-modeling", "d2-engine"}


def event(
    name: str, start: float, end: float = 0.0, device: DeviceType = DeviceType.CPU
) -> SimpleNamespace:
    span = SimpleNamespace(start=start, end=end)
    return SimpleNamespace(name=name, time_range=span, device_type=device)


def test_waits_are_counted_while_the_call_runs_and_copies_whenever_they_do() -> None:
    events = [
        event("cudaStreamSynchronize", 1),  # before
        event("what is counted", 5, 12, DeviceType.CUDA),  # what the device did meanwhile
        event("what is counted", 2, 10),
        event("cudaStreamSynchronize", 3),
        event("cudaLaunchKernel", 4),
        event("cudaLaunchKernelExC", 5),
        event("aten::item", 6),
        event("cudaEventSynchronize", 9),
        event("Memcpy DtoH (Device -> Pageable)", 12, 12, DeviceType.CUDA),
        event("cudaDeviceSynchronize", 13),  # the profiler's
    ]
    assert host_waits.tally(events) == {"waits": 2, "copies_to_host": 1, "kernels": 2}
