"""The script itself: its steps and limits, and the whole of it where there is no device."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parents[1]
SCRIPTS = sorted(HERE.glob("*.sh"))
STEPS = ["install", "build", "tests", "operators", "models", "sanitize", "training"]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shell_scripts_are_clean(script: Path) -> None:
    subprocess.run(["bash", "-n", script], check=True)
    shellcheck = shutil.which("shellcheck")
    if shellcheck is None:
        pytest.skip("shellcheck is not installed")
    subprocess.run([shellcheck, "-x", script.name], check=True, cwd=HERE)


def test_the_limits_of_all_steps_are_the_default_budget() -> None:
    text = (HERE / "run.sh").read_text()
    limits = dict(re.findall(r"step (\w+) (\d+) ", text))
    assert list(limits) == STEPS
    assert sum(map(int, limits.values())) == 8 * 60
    assert "minutes=8\n" in text


@pytest.mark.parametrize("arguments", [["--minutes", "0"], ["--minutes", "soon"], ["--what"]])
def test_arguments_that_do_not_fit_are_refused(arguments: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        [HERE / "run.sh", *arguments], env={**os.environ, "OUT": str(tmp_path)}, capture_output=True
    )
    assert done.returncode == 2
    assert b"--minutes" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_without_a_device_a_real_run_ends_before_it_builds(tmp_path: Path) -> None:
    environment = {"OUT": str(tmp_path), "PYTHON": sys.executable, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [HERE / "run.sh"], env={**os.environ, **environment}, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "torch finds no CUDA device; --dry tries the script without one" in done.stderr
    assert [path.name for path in tmp_path.rglob("*.log")] == ["install.log"]


def steps_run(tmp_path: Path, *lines: str) -> tuple[str, list[dict[str, Any]]]:
    """What steps print and note, with 100 seconds to go in all."""
    (tmp_path / "logs").mkdir()
    script = f"""
        python={sys.executable} here={HERE} out={tmp_path} work={tmp_path} minutes=8 slower=1
        record={tmp_path}/record.jsonl deadline=100
        source {HERE}/steps.sh
        {"; ".join(lines)}
        echo "failures $failures"
    """
    printed = subprocess.check_output(["bash", "-uc", script], text=True)
    return printed, [json.loads(x) for x in (tmp_path / "record.jsonl").read_text().splitlines()]


def test_a_step_that_fails_hides_no_other(tmp_path: Path) -> None:
    printed, notes = steps_run(
        tmp_path, "step first 30 bash -c 'echo word; exit 3'", "step second 30 true"
    )
    assert [(n["name"], n["status"]) for n in notes] == [("first", 3), ("second", 0)]
    assert (tmp_path / "logs" / "first.log").read_text() == "word\n"
    assert "failures 1" in printed


def test_a_step_gets_what_is_left_and_is_cut_where_nothing_is(tmp_path: Path) -> None:
    printed, notes = steps_run(
        tmp_path,
        "step early 30 true",
        "SECONDS=80",
        "step late 30 true",
        "SECONDS=98",
        "step last 30 true",
    )
    assert [n["limit"] for n in notes[:2]] == [30, 20]
    assert notes[2] == {"kind": "step", "name": "last", "limit": 30, "seconds": 0, "status": None}
    assert "last       cut" in printed
    assert "failures 1" in printed


def test_long_logs_keep_their_end(tmp_path: Path) -> None:
    steps_run(tmp_path, "step long 30 bash -c 'seq 1 100000'")
    log = (tmp_path / "logs" / "long.log").read_text()
    assert len(log) <= 200_000
    assert log.endswith("100000\n")


@pytest.fixture(scope="module")
def dry(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder and the output of a dry run."""
    out = tmp_path_factory.mktemp("out")
    environment = {**os.environ, "OUT": str(out), "PYTHON": sys.executable}
    done = subprocess.run(
        [HERE / "run.sh", "--dry"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    logs = "\n".join(f"{p}:\n{p.read_text()[-3000:]}" for p in sorted((out / "logs").iterdir()))
    assert done.returncode == 0, f"{done.stdout}\n{logs}"
    return out, done.stdout


def test_a_dry_run_does_every_step(dry: tuple[Path, str]) -> None:
    out, printed = dry
    results = json.loads((out / "dry-run.json").read_text())
    assert [(s["name"], s["status"]) for s in results["steps"]] == [(name, 0) for name in STEPS]
    assert results["tests"]["passed"] > 200
    assert results["tests"]["failed"] == 0
    assert results["environment"]["dry"] is True
    assert "A dry run: the CPU stood in" in printed


def test_a_dry_run_has_a_figure_of_every_operator_and_model(dry: tuple[Path, str]) -> None:
    figures = json.loads((dry[0] / "dry-run.json").read_text())["figures"]
    assert [f for f in figures if "error" in f] == []
    assert {f["name"] for f in figures if f["step"] == "operators"} >= {
        "batched_nms",
        "deform_conv2d",
        "match_anchors",
        "multilevel_roi_align",
        "nms",
        "nms_rotated",
        "paste_masks_in_image",
        "roi_align",
        "roi_align_rotated",
        "sigmoid_focal_loss",
    }
    models = {(f["name"], f["mode"]) for f in figures if f["step"] == "models"}
    assert models == {(n, m) for n in ("mask_rcnn", "retinanet") for m in ("training", "inference")}
    assert any(f["step"] == "training" and f["images_per_second"] > 0 for f in figures)
    if importlib.util.find_spec("torchvision"):
        compared = {f["name"] for f in figures if f["ratio"] is not None}
        assert compared >= {"batched_nms", "deform_conv2d", "mask_rcnn", "retinanet", "roi_align"}


def test_results_are_few_and_small(dry: tuple[Path, str]) -> None:
    files = [path for path in dry[0].rglob("*") if path.is_file()]
    assert len(files) == 1 + len(STEPS)
    assert sum(path.stat().st_size for path in files) < 2 << 20
