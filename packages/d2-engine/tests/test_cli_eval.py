"""``d2 eval``: of a run, of weights, of predictions alone."""

import json
import shutil
import subprocess
import sys

import pytest
import torch

from d2_engine.cli import main


def row(printed: str, task: str) -> str:
    return next(line for line in printed.splitlines() if line.startswith(f"| {task}"))


def test_evaluating_a_run_repeats_its_numbers(tiny_run, tmp_path, capfd):
    assert main(["eval", str(tiny_run), "--output", str(tmp_path)]) == 0
    printed = capfd.readouterr().out
    last = json.loads((tiny_run / "metrics.json").read_text().splitlines()[-1])
    assert f"{last['bbox/AP50']:.2f}" in row(printed, "bbox")
    assert f"Everything is in {tmp_path}" in printed


def test_the_results_as_json_are_all_that_is_printed(tiny_run, tmp_path, capfd):
    assert main(["eval", str(tiny_run), "--output", str(tmp_path), "--json"]) == 0
    printed = capfd.readouterr()
    results = json.loads(printed.out, parse_constant=pytest.fail)
    last = json.loads((tiny_run / "metrics.json").read_text().splitlines()[-1])
    assert results["bbox"]["AP50"] == pytest.approx(last["bbox/AP50"])
    assert results["bbox"]["APl"] is None  # no object is that large
    assert "Start inference" in printed.err


def test_a_config_is_evaluated_with_weights_that_are_given(tiny, tiny_run, tmp_path, capfd):
    arguments = ["eval", str(tiny.config), "--weights", str(tiny_run / "model_final.pth")]
    classes = tiny.set(num_classes="null")
    assert main([*arguments, "--output", str(tmp_path), *classes]) == 0
    assert "| bbox" in capfd.readouterr().out


def test_a_run_that_was_moved_is_evaluated_where_it_is(tiny_run, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(tiny_run, moved)
    (moved / "contact_sheet.png").unlink()
    assert main(["eval", str(moved)]) == 0
    assert (moved / "contact_sheet.png").is_file()


def test_weights_have_to_be_named(tiny, fails):
    assert "--weights FILE" in fails("eval", tiny.config)


def test_a_folder_that_is_no_run_is_named(tmp_path, fails):
    assert "not the folder of a training run" in fails("eval", tmp_path)


def test_weights_of_a_backbone_alone_are_not_used(tiny_run, tmp_path, fails):
    whole = torch.load(tiny_run / "model_final.pth", weights_only=True)["model"]
    backbone = {name: value for name, value in whole.items() if name.startswith("backbone.")}
    torch.save({"model": backbone}, tmp_path / "backbone.pth")
    message = fails("eval", tiny_run, "--weights", tmp_path / "backbone.pth")
    assert "backbone.pth" in message
    assert "proposal_generator" in message


# ------------------------------------------------------------- predictions alone


@pytest.fixture
def files(shapes, tmp_path):
    """Predictions equal to the annotations, and those."""
    truth = json.loads((shapes / "instances.json").read_text())
    results = [
        {key: annotation[key] for key in ("image_id", "category_id", "bbox")} | {"score": 0.9}
        for annotation in truth["annotations"]
    ]
    (tmp_path / "results.json").write_text(json.dumps(results))
    return ["--predictions", tmp_path / "results.json", "--gt", shapes / "instances.json"]


def test_predictions_alone_are_compared_with_annotations(files, capfd):
    assert main(["eval", *map(str, files)]) == 0
    printed = capfd.readouterr().out
    assert "100.00" in row(printed, "bbox")
    assert "segm" not in printed


def test_tasks_may_be_chosen_and_results_be_json(files, capfd):
    assert main(["eval", *map(str, files), "--task", "bbox", "--json"]) == 0
    results = json.loads(capfd.readouterr().out)
    assert results.keys() == {"bbox"}
    assert results["bbox"]["AP"] == pytest.approx(100)


def test_predictions_that_do_not_fit_are_named(files, tmp_path, fails):
    results = json.loads((tmp_path / "results.json").read_text())
    results[3]["image_id"] = 4711
    (tmp_path / "results.json").write_text(json.dumps(results))
    message = fails("eval", *files)
    assert "result 3 has image_id 4711" in message
    assert "results.json" in message


def test_predictions_alone_need_nothing_that_makes_models(files):
    script = (
        "import sys\n"
        "from d2_engine.cli import main\n"
        f"assert main(['eval', *{list(map(str, files))!r}]) == 0\n"
        "assert not [m for m in sys.modules if m.startswith(('d2_modeling', 'd2_engine.run.'))]\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_report_of_files_is_written_where_it_is_asked_for(files, tmp_path, capfd):
    folder = tmp_path / "report"
    assert main(["eval", *map(str, files), "--report", str(folder)]) == 0
    assert f"The report is {folder / 'index.html'}" in capfd.readouterr().out
    figures = json.loads((folder / "figures.json").read_text())
    assert figures["figures"][0]["rows"][0]["value"] == pytest.approx(100)
    assert figures["other"] is None


def test_a_report_compares_two_files_by_their_names(files, tmp_path):
    (tmp_path / "older.json").write_text((tmp_path / "results.json").read_text())
    folder = tmp_path / "report"
    arguments = [*map(str, files), "--report", str(folder), "--json"]
    assert main(["eval", *arguments, "--compare", str(tmp_path / "older.json")]) == 0
    figures = json.loads((folder / "figures.json").read_text())
    assert (figures["name"], figures["other"]) == ("results", "older")
    assert figures["figures"][0]["rows"][0]["difference"] == [0, 0]


def test_a_comparison_needs_a_report(files, tmp_path, capfd):
    with pytest.raises(SystemExit):
        main(["eval", *map(str, files), "--compare", str(tmp_path / "results.json")])
    assert "--compare FILE is for --report DIR" in capfd.readouterr().err


def test_a_run_is_evaluated_with_a_report_of_its_test_set(tiny_run, tmp_path):
    arguments = ["--output", str(tmp_path / "run"), "--report", str(tmp_path / "report")]
    assert main(["eval", str(tiny_run), *arguments]) == 0
    figures = json.loads((tmp_path / "report" / "figures.json").read_text())
    last = json.loads((tiny_run / "metrics.json").read_text().splitlines()[-1])
    rows = {row["metric"]: row["value"] for row in figures["figures"][0]["rows"]}
    assert rows["AP50"] == pytest.approx(last["bbox/AP50"], abs=1e-4)
    assert (tmp_path / "report" / "index.html").is_file()


def test_the_official_results_of_coco_have_their_official_numbers(shared, capfd):
    folder = shared / "data" / "coco54"
    reference = json.loads((folder / "reference.json").read_text())
    for task in ("bbox", "segm"):
        predictions = folder / f"instances_val2014_fake{task}100_results.json"
        arguments = ["--predictions", predictions, "--gt", folder / "instances_val2014_100.json"]
        assert main(["eval", *map(str, arguments), "--json"]) == 0
        results = json.loads(capfd.readouterr().out)
        assert results.keys() == {task}
        assert results[task]["AP"] == pytest.approx(100 * reference[f"fake{task}_100"]["AP"])
