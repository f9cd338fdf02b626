"""``d2 eval`` of files alone is one Python call."""

import json

import numpy as np
import pytest

from d2_engine.cli import main
from d2_eval import evaluate_files

REFERENCES = {
    "lvis": ("lvis/synthetic_results.json", "lvis/lvis_val_100.json"),
    "panoptic": (
        "panoptic_sample/pred/panoptic_examples_pred.json",
        "panoptic_sample/panoptic_examples.json",
    ),
    "semantic": ("ade20k/pred_synthetic", "ade20k/annotations"),
    "coco": ("coco54/fakesegm_coco54_results.json", "coco54/instances_coco54.json"),
}


def printed(capfd, *arguments):
    assert main(["eval", *map(str, arguments), "--json"]) == 0
    return json.loads(capfd.readouterr().out, parse_constant=pytest.fail)


def as_json(results):
    return {
        task: {name: None if np.isnan(value) else value for name, value in scores.items()}
        for task, scores in results.items()
    }


@pytest.mark.parametrize("kind", REFERENCES)
def test_each_kind_of_file_gives_what_the_function_gives(kind, shared, capfd):
    predictions, truth = (shared / "data" / part for part in REFERENCES[kind])
    got = printed(capfd, "--predictions", predictions, "--gt", truth)
    assert got == as_json(evaluate_files(predictions, truth))
    assert got == printed(capfd, "--predictions", predictions, "--gt", truth, "--kind", kind)


@pytest.mark.parametrize(
    ("kind", "typed", "options"),
    [
        ("lvis", ["--fixed-ap", "--task", "bbox"], {"fixed_ap": True, "tasks": ["bbox"]}),
        ("lvis", ["--max-detections", "3"], {"max_detections": 3}),
        ("semantic", ["--ignore-label", "0"], {"ignore_label": 0}),
        ("semantic", ["--boundary-iou"], {"boundary_iou": True}),
        ("coco", ["--task", "segm", "boundary"], {"tasks": ["segm", "boundary"]}),
    ],
)
def test_options_are_those_of_the_function(kind, typed, options, shared, capfd):
    predictions, truth = (shared / "data" / part for part in REFERENCES[kind])
    got = printed(capfd, "--predictions", predictions, "--gt", truth, *typed)
    assert got == as_json(evaluate_files(predictions, truth, **options))
    assert got != as_json(evaluate_files(predictions, truth))


def test_a_table_is_printed(shared, capfd):
    predictions, truth = (shared / "data" / part for part in REFERENCES["panoptic"])
    assert main(["eval", "--predictions", str(predictions), "--gt", str(truth)]) == 0
    assert "panoptic_seg" in capfd.readouterr().out


def test_options_of_other_kinds_and_of_files_are_named(shared, fails):
    predictions, truth = (shared / "data" / part for part in REFERENCES["coco"])
    message = fails("eval", "--predictions", predictions, "--gt", truth, "--fixed-ap")
    assert "fixed_ap is an option for lvis" in message


def test_options_of_files_are_for_files(capfd):
    with pytest.raises(SystemExit):
        main(["eval", "x.yaml", "--ignore-label", "0"])
    assert "--ignore-label is for --predictions" in capfd.readouterr().err
