"""From what is typed to a plan."""

import sys

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

import d2_data
from d2_config import LazyCall as L
from d2_config import LazyConfig, get_cfg
from d2_data import DatasetMapper, get_detection_dataset_dicts
from d2_engine import model_zoo
from d2_engine.run import from_config, import_modules, load_plan
from d2_engine.run.configs import read_settings
from d2_eval import DatasetEvaluator

ZOO = "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml"


def test_every_packaged_config_makes_a_plan_that_fits_its_data():
    for name in model_zoo.list_config_files():
        plan = load_plan(name)
        for count in plan.counts:
            names = plan.metadata.get(count.field)
            if names is not None and count.value is not None and plan.train_data.datasets:
                assert count.value == len(names), (name, count)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize("name", [ZOO, "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.py"])
def test_without_a_cuda_device_official_configs_run_on_the_cpu_and_say_so(name, caplog):
    plan = load_plan(name)
    assert plan.device == "cpu"
    assert "running on the CPU" in caplog.text
    option = plan.settings.called("device")
    assert load_plan(name, [f"{option}=cuda"]).device == "cuda"


@pytest.mark.parametrize("name", [ZOO, "new_baselines/mask_rcnn_R_50_FPN_100ep_LSJ.py"])
def test_a_packaged_config_is_used_with_its_published_weights(name):
    assert load_plan(name, to_use=True).weights == model_zoo.get_checkpoint_url(name)
    assert load_plan(name, to_use=True, weights="mine.pth").weights == "mine.pth"
    assert load_plan(name).weights != model_zoo.get_checkpoint_url(name)


def test_weights_have_to_be_named_to_be_used(tiny):
    with pytest.raises(ValueError, match="--weights FILE"):
        load_plan(tiny.config, to_use=True)


def test_overrides_of_a_yacs_config_may_be_keys_and_values_in_turn(tiny_yacs):
    assert load_plan(tiny_yacs.config, ["SOLVER.MAX_ITER", "9", "SEED", "4"]).max_iter == 9


def test_an_option_of_a_run_is_known_to_both_kinds(tiny):
    plan = load_plan(tiny.config, tiny.set(accumulate=4, ema_decay=0.5))
    assert (plan.options.accumulate, plan.options.ema_decay) == (4, 0.5)


def test_an_option_that_a_config_of_ones_own_lacks_is_known(tmp_path):
    config = tmp_path / "own.py"
    config.write_text("model = {'a': 1}\ntrain = {'output_dir': 'out', 'max_iter': 1}\n")
    assert load_plan(config, ["train.compile=True"]).options.compile


def test_an_unknown_key_is_named(tiny):
    key = tiny.names["max_iter"]
    with pytest.raises(KeyError, match=key):
        load_plan(tiny.config, [f"{key}R=1" if key.isupper() else f"{key}r=1"])


def test_modules_register_datasets_when_they_are_imported(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    for name in ("run_configs_by_name", "run_configs_by_path"):
        (tmp_path / f"{name}.py").write_text(f"import sys\nsys.{name} = True\n")
    import_modules(["run_configs_by_name", str(tmp_path / "run_configs_by_path.py")])
    for name in ("run_configs_by_name", "run_configs_by_path"):
        assert getattr(sys, name)
        delattr(sys, name)
        del sys.modules[name]
    with pytest.raises(ImportError, match=r"absent\.py: there is no such file"):
        import_modules(["absent.py"])


# --------------------------------------------------------- lazy configs of other kinds


class Evaluator(DatasetEvaluator):
    """Takes an output_dir, as ours do."""

    def __init__(self, output_dir=None):
        self.output_dir = output_dir


class Foreign(DatasetEvaluator):
    """Takes nothing."""


def loader(number=0):
    return [number]


def seeded_loader(seed=None):
    return [seed]


def trainer(model, data_loader, optimizer):
    return ("trainer", model, data_loader, optimizer)


def lazy(**dataloader):
    train = {"output_dir": "out", "seed": 5, "max_iter": 1}
    model = L(nn.Linear)(in_features=1, out_features=1)
    return OmegaConf.create(
        {"model": model, "dataloader": dataloader, "train": train}, flags={"allow_objects": True}
    )


def test_foreign_calls_get_no_arguments_that_they_do_not_take():
    plan = from_config(lazy(train=L(loader)(), test=L(loader)(), evaluator=L(Foreign)()))
    assert plan.train_data.loader() == [0]
    assert isinstance(plan.test_sets[0].evaluators("folder"), Foreign)


def test_calls_that_take_them_get_the_seed_and_the_folder():
    cfg = lazy(train=L(seeded_loader)(), test=L(loader)(), evaluator=L(Evaluator)())
    plan = from_config(cfg)
    assert plan.train_data.loader() == [5]
    assert plan.test_sets[0].evaluators("folder").output_dir == "folder/inference"
    cfg.dataloader.train.seed = 9
    cfg.dataloader.evaluator.output_dir = "mine"
    plan = from_config(cfg)
    assert plan.train_data.loader() == [9]
    assert plan.test_sets[0].evaluators("folder").output_dir == "mine"


def dataset_loader(dataset):
    return dataset


def shared(names, filter_empty=True):
    return ("shared", names, filter_empty)


def test_named_datasets_of_a_lazy_config_are_read_once_on_each_machine(monkeypatch):
    monkeypatch.setattr(d2_data, "shared_detection_dataset", shared)
    train = L(dataset_loader)(dataset=L(get_detection_dataset_dicts)(names="mine"))
    test = L(dataset_loader)(
        dataset=L(get_detection_dataset_dicts)(names="other", filter_empty=False)
    )
    plan = from_config(lazy(train=train, test=test))
    assert plan.train_data.loader() == ("shared", "mine", True)
    assert plan.test_sets[0].loader() == ("shared", "other", False)
    plan = from_config(lazy(train=L(dataset_loader)(dataset=L(loader)(number=3))))
    assert plan.train_data.loader() == [3]


def mapped_loader(mapper=None):
    return [mapper]


def test_reduced_decoding_reaches_the_mapper_of_a_lazy_config():
    mapper = L(DatasetMapper)(is_train=True, augmentations=[], image_format="BGR")
    cfg = lazy(train=L(mapped_loader)(mapper=mapper))
    (full,) = from_config(cfg).train_data.loader()
    assert not full.reduced_decoding
    cfg.train.reduced_decoding = True
    (reduced,) = from_config(cfg).train_data.loader()
    assert reduced.reduced_decoding
    cfg.dataloader.train = L(mapped_loader)(mapper=L(loader)())
    with pytest.raises(ValueError, match="dataloader.train.mapper is no DatasetMapper"):
        from_config(cfg).train_data.loader()


def test_reduced_decoding_reaches_the_mapper_of_a_yacs_style_config(tmp_path):
    (tmp_path / "a.yaml").write_text("RUN:\n  REDUCED_DECODING: true\n")
    cfg = read_settings(tmp_path / "a.yaml").cfg
    assert DatasetMapper(cfg, is_train=True).reduced_decoding
    assert not DatasetMapper(cfg, is_train=False).reduced_decoding
    cfg.RUN.REDUCED_DECODING = False
    assert not DatasetMapper(cfg, is_train=True).reduced_decoding


@pytest.mark.parametrize(
    "evaluator", [[L(Foreign)(), L(Evaluator)()], {"a": L(Foreign)(), "b": L(Evaluator)()}]
)
def test_one_test_set_may_have_several_evaluators(evaluator):
    plan = from_config(lazy(test=L(loader)(), evaluator=evaluator))
    kinds = [type(e) for e in plan.test_sets[0].evaluators("folder")]
    assert kinds == [Foreign, Evaluator]


def test_several_test_sets_have_an_evaluator_each():
    tests = {"day": L(loader)(number=1), "night": L(loader)(number=2)}
    evaluators = {"night": L(Foreign)(), "day": L(Evaluator)()}
    plan = from_config(lazy(test=tests, evaluator=evaluators))
    assert [(t.name, t.loader()) for t in plan.test_sets] == [("day", [1]), ("night", [2])]
    assert isinstance(plan.test_sets[1].evaluators("folder"), Foreign)
    both = [L(Foreign)(), [L(Foreign)(), L(Evaluator)()]]
    plan = from_config(lazy(test=list(tests.values()), evaluator=both))
    assert len(plan.test_sets[1].evaluators("folder")) == 2


def test_test_sets_without_an_evaluator_each_are_refused():
    tests = [L(loader)(), L(loader)()]
    with pytest.raises(ValueError, match="one for each; got one"):
        from_config(lazy(test=tests, evaluator=L(Foreign)()))


def test_a_trainer_of_ones_own_gets_model_loader_and_optimizer():
    cfg = lazy(train=L(loader)())
    cfg.train.trainer = L(trainer)()
    model = nn.Linear(1, 1)
    assert from_config(cfg).trainer(model, "data", "optimizer")[1:] == (model, "data", "optimizer")


def test_an_optimizer_gets_the_model_or_its_parameters():
    cfg = lazy()
    cfg.optimizer = L(torch.optim.SGD)(lr=0.1)
    model = nn.Linear(1, 1)
    optimizer = from_config(cfg).optimizer(model)
    assert optimizer.param_groups[0]["params"] == list(model.parameters())


def test_a_config_without_a_model_is_refused():
    with pytest.raises(ValueError, match="has no 'model', only dataloader"):
        from_config(OmegaConf.create({"dataloader": {}}))


def test_a_torchvision_classification_config_is_a_plan():
    plan = load_plan("Misc/torchvision_imagenet_R_50.py")
    assert plan.counts == ()
    assert plan.preprocessing is None
    assert len(plan.test_sets) == 1


def test_a_plan_can_be_made_in_python_from_either_kind():
    assert from_config(get_cfg()).max_iter == 40000
    with pytest.raises(TypeError, match="got dict"):
        from_config({})


def test_a_saved_run_is_read_as_it_was(tiny, tmp_path):
    plan = tiny.plan(tmp_path, accumulate=3)
    plan.settings.save(tmp_path / "config.yaml")
    (tmp_path / "last_checkpoint").write_text("model_final.pth")
    again = load_plan(tmp_path)
    assert again.options == plan.options
    assert again.weights.endswith("model_final.pth")
    assert type(again.settings) is type(plan.settings)
    if tiny.config.suffix == ".py":
        assert LazyConfig.load(tmp_path / "config.yaml").train.accumulate == 3
