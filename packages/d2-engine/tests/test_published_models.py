"""The table of published models, against the published data."""

import json

import pytest

from d2_engine import model_zoo
from d2_engine.cli import main

_FIGURES = {
    "train time (s/iter)": "train_seconds_per_iteration",
    "train time (s/im)": "train_seconds_per_image",
    "inference time (s/im)": "inference_seconds_per_image",
    "train mem (GB)": "training_memory_gb",
    "box AP": "box_ap",
    "mask AP": "mask_ap",
    "kp. AP": "keypoint_ap",
    "PQ": "panoptic_quality",
    "prop. AR": "proposal_ar",
}


@pytest.fixture(scope="module")
def published(shared):
    return json.loads((shared / "spec" / "model_zoo.json").read_text())


def test_every_published_url_is_given_and_no_other(published):
    urls = {
        stem: f"{published['prefix']}{stem}/{suffix}"
        for stem, suffix in published["suffix"].items()
    }
    assert {
        model.config.rsplit(".", 1)[0]: model.url for model in model_zoo.published_models()
    } == urls
    for model in model_zoo.published_models():
        assert model_zoo.get_checkpoint_url(model.config) == model.url


def test_every_published_figure_is_given(published):
    models = {model.config: model for model in model_zoo.published_models()}
    rows = [row for row in published["table"] if row["config"]]
    assert len(rows) == 64
    for row in rows:
        model = models[row["config"]]
        assert model.model_id == row["model id"]
        for title, field in _FIGURES.items():
            text = row.get(title)
            assert getattr(model, field) == (float(text) if text and text != "N/A" else None)


def test_numbers_of_parameters_are_those_of_the_original_models(shared):
    stats = json.loads((shared / "golden" / "state_dict_keys.json").read_text())["stats"]
    models = {model.config: model for model in model_zoo.published_models()}
    known = models.keys() & stats.keys()
    assert len(known) == 52
    assert {name: models[name].parameters for name in known} == {
        name: stats[name]["params"] for name in known
    }


def test_every_published_model_has_its_config():
    configs = model_zoo.list_config_files()
    assert [m.config for m in model_zoo.published_models() if m.config not in configs] == []


def test_the_python_twin_of_a_config_has_its_weights():
    name = "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x"
    url = model_zoo.get_checkpoint_url(f"{name}.yaml")
    assert model_zoo.get_checkpoint_url(f"{name}.py") == url
    assert url.endswith(
        "/COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x/137260431/model_final_a54504.pkl"
    )


def test_a_config_without_weights_names_close_ones():
    with pytest.raises(ValueError, match=r"no trained weights.*Did you mean .*cascade_mask_rcnn"):
        model_zoo.get_checkpoint_url("Misc/cascade_mask_rcnn_R_50_FPN_5x.yaml")


def test_d2_zoo_lists_every_model_with_its_figures(capsys):
    assert main(["zoo"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(model_zoo.published_models())
    row = next(line for line in lines if "mask_rcnn_R_50_FPN_3x.yaml" in line)
    assert row.split()[1:] == ["41.0", "37.2", "0.043", "3.4", "44.3", "137849600"]
    assert len({len(line) for line in lines}) == 1


def test_d2_zoo_lists_names_that_have_all_the_words(capsys):
    assert main(["zoo", "KEYPOINT", "x_101"]) == 0
    header, row = capsys.readouterr().out.splitlines()
    assert header.split("  ")[0] == "config"
    assert "mask AP" not in header
    assert row.startswith("COCO-Keypoints/keypoint_rcnn_X_101_32x8d_FPN_3x.yaml")


def test_d2_zoo_lists_urls_and_the_files_they_are_kept_in(capsys, monkeypatch):
    monkeypatch.setenv("D2_CACHE", "/cache")
    assert main(["zoo", "Cityscapes", "--urls"]) == 0
    name, url, file = capsys.readouterr().out.split()
    assert url == model_zoo.get_checkpoint_url(name)
    assert file == f"/cache/detectron2/{url.split('detectron2/')[1]}"


def test_d2_zoo_lists_all_configs(capsys):
    assert main(["zoo", "--all"]) == 0
    assert capsys.readouterr().out.splitlines() == model_zoo.list_config_files()


def test_d2_zoo_says_when_no_name_fits(capsys):
    assert main(["zoo", "yolo"]) == 1
    assert "no name has yolo in it" in capsys.readouterr().err
