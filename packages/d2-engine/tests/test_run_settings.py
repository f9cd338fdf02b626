"""The values of a config by what they mean."""

import pytest
from omegaconf import OmegaConf

from d2_config import LazyConfig, get_cfg
from d2_engine.run.settings import LazySettings, YacsSettings, settings_of
from d2_engine.run_options import RunOptions, option_defaults, read_options


def yacs():
    return settings_of(get_cfg())


def lazy():
    train = {"output_dir": "out", "max_iter": 40000, "seed": None, "device": "cuda"}
    loader = {"dataset": {"names": "a"}, "total_batch_size": 16}
    return settings_of(OmegaConf.create({"train": train, "dataloader": {"train": loader}}))


@pytest.fixture(params=[yacs, lazy], ids=["yacs", "lazy"])
def settings(request):
    return request.param()


def test_the_same_question_is_answered_by_both_kinds(settings):
    assert settings.get("max_iter") == 40000
    assert settings.get("device") == "cuda"
    assert settings.get("batch_size") == 16


def test_what_the_config_has_not_is_the_default(settings):
    assert settings.value("no.such.key", 7) == 7
    assert lazy().get("reference_world_size", 0) == 0


def test_a_change_makes_another_config(settings):
    changed = settings.with_(max_iter=5, seed=3)
    assert (changed.get("max_iter"), changed.get("seed")) == (5, 3)
    assert settings.get("max_iter") == 40000
    assert type(changed) is type(settings)


def test_an_assignment_changes_the_config_itself(settings):
    settings.assign("seed", 11)
    assert settings.get("seed") == 11


def test_a_frozen_config_stays_frozen():
    cfg = get_cfg()
    cfg.freeze()
    assert settings_of(cfg).with_(seed=1).cfg.is_frozen()
    settings_of(cfg).assign("seed", 1)
    assert cfg.SEED == 1
    assert cfg.is_frozen()


def test_a_yacs_config_saves_of_its_options_what_differs(tmp_path):
    cfg = get_cfg()
    same = {name.upper(): value for name, value in option_defaults().items()}
    settings = YacsSettings(cfg).changed({"RUN": type(cfg)(same)})
    settings.save(tmp_path / "same.yaml")
    assert "RUN" not in (tmp_path / "same.yaml").read_text()
    settings.changed({"RUN.ACCUMULATE": 4}).save(tmp_path / "other.yaml")
    assert "RUN:\n  ACCUMULATE: 4\n" in (tmp_path / "other.yaml").read_text()
    get_cfg().merge_from_file(tmp_path / "same.yaml")  # detectron2's keys and no others


def test_a_lazy_config_is_saved_as_one(tmp_path):
    lazy().save(tmp_path / "config.yaml")
    assert LazyConfig.load(tmp_path / "config.yaml").train.max_iter == 40000


def test_other_data_is_placed_where_the_config_has_names(settings):
    changed = settings.with_data("mine", None)
    assert list(changed.get("train_names")) in (["mine"], list("mine"))
    assert not changed.get("test_names")


def test_a_config_without_named_data_cannot_take_other_data():
    cfg = OmegaConf.create({"dataloader": {"train": {"root": "somewhere"}}})
    with pytest.raises(ValueError, match=r"no dataloader\.train\.dataset\.names"):
        LazySettings(cfg).with_data("mine", None)


def test_what_is_no_config_is_refused():
    with pytest.raises(TypeError, match="got dict"):
        settings_of({})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("accumulate", 0),
        ("ema_decay", 1.0),
        ("ema_decay", "much"),
        ("amp_precision", "fp8"),
        ("compile", "yes"),
        ("layer_decay", 0),
    ],
)
def test_an_option_out_of_range_is_named(name, value):
    with pytest.raises(ValueError, match=rf"RUN\.{name}={value!r} is not allowed"):
        read_options({name: value}, "RUN.{}")


def test_options_that_are_not_given_keep_their_defaults():
    assert read_options({"accumulate": 2}, "{}") == RunOptions(accumulate=2)
