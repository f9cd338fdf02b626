"""The promises of a training run, kept for both kinds of config."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from d2_data import DatasetCatalog, MetadataCatalog
from d2_engine.run import evaluate, load_plan, train
from d2_engine.run.configs import read_settings
from d2_engine.run.model import build_model
from d2_engine.train_loop import TrainerBase


def weights(folder: Path, name: str = "model_final.pth") -> dict:
    return torch.load(folder / name, weights_only=True)["model"]


def metrics(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]


def assert_same_weights(a: dict, b: dict) -> None:
    assert a.keys() == b.keys()
    for name, value in a.items():
        assert torch.equal(value, b[name]), name


def stopped_after_three(straight: Path, folder: Path) -> Path:
    """The folder of a run as it was after its first checkpoint."""
    shutil.copytree(straight, folder)
    (folder / "last_checkpoint").write_text("model_0000002.pth")
    for name in ("model_0000005.pth", "model_final.pth"):
        (folder / name).unlink()
    lines = (folder / "metrics.json").read_text().splitlines(keepends=True)
    kept = [line for line in lines if json.loads(line)["iteration"] < 3]
    (folder / "metrics.json").write_text("".join(kept))
    return folder


@pytest.fixture(scope="module")
def straight(tiny, tmp_path_factory) -> Path:
    """The folder of a run that was never stopped."""
    folder = tmp_path_factory.mktemp("runs") / "straight"
    results = train(tiny.plan(folder))
    (folder / "results.json").write_text(json.dumps(results))
    return folder


@pytest.fixture
def totals(monkeypatch):
    """The total loss of each iteration; metrics.json has medians."""
    seen: dict[int, float] = {}
    after_step = TrainerBase.after_step

    def record(self):
        if "total_loss" in self.storage.latest():
            seen[self.iter] = self.storage.latest()["total_loss"][0]
        after_step(self)

    monkeypatch.setattr(TrainerBase, "after_step", record)
    return seen


# ------------------------------------------------------------------- what it leaves


def test_a_run_leaves_its_folder(straight):
    names = {path.name for path in straight.iterdir()}
    assert {
        "config.yaml",
        "contact_sheet.png",
        "inference",
        "last_checkpoint",
        "log.txt",
        "metadata.json",
        "metrics.json",
        "model_0000002.pth",
        "model_final.pth",
    } <= names
    assert json.loads((straight / "metadata.json").read_text())["thing_classes"][0] == "ellipse"


def test_the_results_are_returned_and_stored(straight):
    results = json.loads((straight / "results.json").read_text())
    assert results.keys() == {"bbox", "segm"}
    stored = metrics(straight)[-1]
    assert stored["bbox/AP50"] == pytest.approx(results["bbox"]["AP50"])


def test_a_run_is_described_by_what_it_saved(tiny, straight):
    plan = load_plan(straight)
    assert plan.max_iter == 6
    assert plan.weights == str(straight / "model_final.pth")
    assert plan.output_dir == str(straight)
    assert plan.metadata.thing_classes[0] == "ellipse"


def test_evaluating_a_run_repeats_its_results(straight, tmp_path):
    results = evaluate(load_plan(straight, output=str(tmp_path), to_use=True), report=True)
    assert json.dumps(results) == (straight / "results.json").read_text()
    assert (tmp_path / "contact_sheet.png").is_file()


# -------------------------------------------------------------------- seed, resume


def test_a_resumed_run_equals_one_that_was_never_stopped(tiny, straight, tmp_path, totals):
    train(tiny.plan(tmp_path / "again"))
    uninterrupted = dict(totals)
    assert sorted(uninterrupted) == list(range(6))
    resumed = stopped_after_three(straight, tmp_path / "resumed")
    totals.clear()
    train(tiny.plan(resumed), resume=True)
    assert totals == {k: v for k, v in uninterrupted.items() if k >= 3}
    assert_same_weights(weights(resumed), weights(straight))
    lines = [line["iteration"] for line in metrics(resumed) if "total_loss" in line]
    assert lines == sorted(set(lines))


def test_a_run_without_a_seed_keeps_the_one_it_drew_when_it_is_resumed(tiny, tmp_path):
    seedless = {"seed": -1}
    train(tiny.plan(tmp_path / "straight", **seedless))
    seed = read_settings(tmp_path / "straight").get("seed")
    assert seed >= 0
    assert (tmp_path / "straight" / "log.txt").read_text().count(f"Seed: {seed}") == 1
    resumed = stopped_after_three(tmp_path / "straight", tmp_path / "resumed")
    train(tiny.plan(resumed, **seedless), resume=True)
    assert read_settings(resumed).get("seed") == seed
    assert_same_weights(weights(resumed), weights(tmp_path / "straight"))


def test_two_seeds_give_two_runs(tiny, straight, tmp_path):
    train(tiny.plan(tmp_path, seed=2, max_iter=3))
    first, other = weights(straight, "model_0000002.pth"), weights(tmp_path, "model_0000002.pth")
    assert any(not torch.equal(value, other[name]) for name, value in first.items())


def test_the_weights_do_not_depend_on_the_number_of_workers(tiny, straight, tmp_path):
    train(tiny.plan(tmp_path, workers=2))
    assert_same_weights(weights(tmp_path), weights(straight))


def test_a_longer_run_goes_on_behind_a_finished_one(tiny, straight, tmp_path, totals):
    folder = tmp_path / "longer"
    shutil.copytree(straight, folder)
    train(tiny.plan(folder, max_iter=8), resume=True)
    assert sorted(totals) == [6, 7]
    assert torch.load(folder / "model_final.pth", weights_only=True)["iteration"] == 7


def test_resuming_what_never_began_begins_it(tiny, tmp_path):
    train(tiny.plan(tmp_path / "new", max_iter=1), resume=True)
    assert (tmp_path / "new" / "model_final.pth").is_file()


def test_a_periodic_evaluation_does_not_change_the_training(tiny, straight, tmp_path):
    train(tiny.plan(tmp_path, eval_period=3))
    assert_same_weights(weights(tmp_path), weights(straight))
    assert sum("bbox/AP" in line for line in metrics(tmp_path)) == 2


# ------------------------------------------------------------------------- options


def test_accumulated_batches_are_one_update(tiny, tmp_path, totals):
    train(tiny.plan(tmp_path / "straight", accumulate=2, max_iter=4, checkpoint_period=2))
    uninterrupted = dict(totals)
    resumed = tmp_path / "resumed"
    shutil.copytree(tmp_path / "straight", resumed)
    (resumed / "last_checkpoint").write_text("model_0000001.pth")
    totals.clear()
    plan = tiny.plan(resumed, accumulate=2, max_iter=4, checkpoint_period=2)
    train(plan, resume=True)
    assert totals == {k: v for k, v in uninterrupted.items() if k >= 2}
    assert_same_weights(weights(resumed), weights(tmp_path / "straight"))


def test_averaged_weights_are_evaluated_saved_and_resumed(tiny, tmp_path):
    plan = tiny.plan(tmp_path / "straight", ema_decay=0.9)
    results = train(plan)
    used = load_plan(tmp_path / "straight", output=str(tmp_path / "eval"), to_use=True)
    assert json.dumps(evaluate(used)) == json.dumps(results)
    resumed = stopped_after_three(tmp_path / "straight", tmp_path / "resumed")
    again = train(tiny.plan(resumed, ema_decay=0.9), resume=True)
    assert json.dumps(again) == json.dumps(results)


@pytest.mark.parametrize(
    "options",
    [
        {"amp": True, "amp_precision": "bf16"},
        {"channels_last": True},
        {"activation_checkpointing": True},
        {"layer_decay": 0.5},
        {"clip": True, "clip_value": 1e-6},
        {"precise_bn": True, "precise_bn_batches": 2},
    ],
    ids=lambda options: next(iter(options)),
)
def test_an_option_trains_and_differs_from_the_plain_run(tiny, straight, tmp_path, options):
    train(tiny.plan(tmp_path, **options))
    changed, plain = weights(tmp_path), weights(straight)
    differs = any(not torch.equal(value, changed[name]) for name, value in plain.items())
    # The same numbers in another order of memory or computed twice: close, not different.
    if options.keys() & {"channels_last", "activation_checkpointing"}:
        for name, value in plain.items():
            torch.testing.assert_close(changed[name], value, atol=2e-3, rtol=2e-2, msg=name)
    else:
        assert differs


def test_the_backbone_is_compiled_where_the_config_says_so(tiny, tmp_path, monkeypatch):
    compiled = []
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda self, **options: compiled.append((self, options))
    )
    model = build_model(tiny.plan(tmp_path, compile=True))
    assert compiled == [(model.backbone, {"dynamic": True})]
    compiled.clear()
    build_model(tiny.plan(tmp_path))
    assert not compiled


def test_test_time_augmentation_is_evaluated_beside_the_plain_model(tiny, tmp_path):
    results = train(tiny.plan(tmp_path, tta=True, tta_sizes="[64,96]", max_iter=1))
    assert results.keys() == {"bbox", "segm", "bbox_TTA", "segm_TTA"}


def test_results_that_are_expected_and_not_met_are_an_error(tiny, tmp_path):
    plan = tiny.plan(tmp_path, expected="[['bbox','AP',99.0,0.5]]", max_iter=1)
    with pytest.raises(ValueError, match=r"bbox/AP is .*wanted 99"):
        train(plan)


def test_a_config_for_more_processes_is_scaled_to_one(tiny, tmp_path):
    plan = tiny.plan(tmp_path, reference_world_size=2, max_iter=1)
    train(plan)
    saved = load_plan(tmp_path)
    assert saved.max_iter == 2
    assert saved.train_data.batch_size == 1


# ------------------------------------------------------------------------- classes


def test_the_number_of_classes_is_taken_from_the_data(tiny, tmp_path):
    train(tiny.plan(tmp_path, num_classes="None", max_iter=1))
    assert weights(tmp_path)["roi_heads.box_predictor.cls_score.weight"].shape[0] == 5
    assert read_settings(tmp_path).value(tiny.names["num_classes"]) == 4


def test_another_number_of_classes_names_both_and_the_remedy(tiny, tmp_path):
    option = tiny.names["num_classes"]
    with pytest.raises(ValueError, match=rf"{option} is 80, but .* 4 .*set {option}=4"):
        train(tiny.plan(tmp_path, num_classes=80))
    assert not (tmp_path / "metrics.json").exists()


def test_data_of_ones_own_is_named_on_the_command_line(tiny, shapes, tmp_path):
    content = json.loads((shapes / "instances.json").read_text())
    content["categories"].append({"id": 99, "name": "hexagon"})
    (tmp_path / "mine.json").write_text(json.dumps(content))
    own = [
        f"data.{split}.{key}={value}"
        for split in ("train", "val")
        for key, value in (("json", tmp_path / "mine.json"), ("images", shapes / "images"))
    ]
    results = train(tiny.plan(tmp_path / "run", *own, max_iter=1))
    assert "AP-hexagon" in results["bbox"]
    assert load_plan(tmp_path / "run").metadata.thing_classes[-1] == "hexagon"
    option = tiny.names["num_classes"]
    with pytest.raises(ValueError, match=rf"{option} is 4, but the data .* has 5"):
        train(tiny.plan(tmp_path / "asked", *own, f"{option}=4"))


@pytest.fixture
def coco_2017(shapes, tmp_path, monkeypatch):
    """The folder where the built-in COCO 2017 is looked for, with a few pictures in it."""
    names = ("coco_2017_train", "coco_2017_val")
    classes = MetadataCatalog.get(names[0])
    ids = sorted(classes.thing_dataset_id_to_contiguous_id)
    content = json.loads((shapes / "instances.json").read_text())
    for annotation in content["annotations"]:
        annotation["category_id"] = ids[annotation["category_id"]]
    content["categories"] = [
        {"id": i, "name": n} for i, n in zip(ids, classes.thing_classes, strict=True)
    ]
    (tmp_path / "coco" / "annotations").mkdir(parents=True)
    for split in ("train", "val"):
        path = tmp_path / "coco" / "annotations" / f"instances_{split}2017.json"
        path.write_text(json.dumps(content))
        shutil.copytree(shapes / "images", tmp_path / "coco" / f"{split}2017")
    monkeypatch.setenv("D2_DATASETS", str(tmp_path))
    for catalog in (DatasetCatalog, MetadataCatalog):
        for name in names:
            monkeypatch.delitem(catalog.data, name, raising=False)
    return names


def test_a_built_in_dataset_is_trained_on_by_its_name(tiny, coco_2017, tmp_path):
    train_name, val_name = coco_2017
    if tiny.names["seed"] == "SEED":
        data = {"train_names": f"['{train_name}']", "test_names": f"['{val_name}']"}
    else:
        data = {"train_names": train_name, "test_names": val_name}
    results = train(tiny.plan(tmp_path / "run", num_classes=80, max_iter=1, **data))
    assert "AP-bicycle" in results["bbox"]
    known = load_plan(tmp_path / "run").metadata
    assert known.thing_classes[:2] == ["person", "bicycle"]
    assert known.thing_dataset_id_to_contiguous_id[90] == 79


def test_training_data_alone_trains_without_evaluation(tiny, shapes, tmp_path):
    own = [f"data.train.json={shapes / 'instances.json'}", f"data.train.images={shapes / 'images'}"]
    assert train(tiny.plan(tmp_path, *own, max_iter=1)) == {}


def test_test_data_of_other_classes_is_refused_before_training(tiny, shapes, tmp_path):
    content = json.loads((shapes / "instances.json").read_text())
    content["categories"][3]["name"] = "hexagon"
    (tmp_path / "other.json").write_text(json.dumps(content))
    own = [f"data.val.json={tmp_path / 'other.json'}", f"data.val.images={shapes / 'images'}"]
    with pytest.raises(ValueError, match="other.json.*hexagon"):
        train(tiny.plan(tmp_path / "run", *own))
    assert not (tmp_path / "run" / "metrics.json").exists()


def test_images_outside_of_their_folder_are_read_where_the_user_says_so(tiny, shapes, tmp_path):
    (tmp_path / "linked").mkdir()
    for image in (shapes / "images").iterdir():
        (tmp_path / "linked" / image.name).symlink_to(image)
    own = [f"data.train.json={shapes / 'instances.json'}", f"data.train.images={tmp_path}/linked"]
    with pytest.raises(ValueError, match=r"symbolic link.*data\.train\.outside=links"):
        train(tiny.plan(tmp_path / "refused", *own, max_iter=1))
    allowed = [*own, "data.train.outside=links"]
    assert train(tiny.plan(tmp_path / "run", *allowed, max_iter=1)) == {}
    with pytest.raises(ValueError, match="outside=yes: known are refuse, links, allow"):
        load_plan(tiny.config, [*own, "data.train.outside=yes"])


@pytest.mark.parametrize(
    "text", ["data.train.jsn=a.json", "data.train.images=somewhere", "data.train.outside=links"]
)
def test_data_that_is_half_named_is_refused(tiny, text):
    with pytest.raises((KeyError, ValueError), match="data.train.json"):
        load_plan(tiny.config, [text])


def test_a_missing_annotation_file_is_named(tiny):
    with pytest.raises(FileNotFoundError, match=r"no/such\.json.*check data\.train\.json"):
        load_plan(tiny.config, ["data.train.json=no/such.json"])
