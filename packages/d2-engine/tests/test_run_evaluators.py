"""The evaluators of a run follow from its test set, in both kinds of config."""

import json

import pytest
from omegaconf import OmegaConf

from d2_config import LazyCall, get_cfg
from d2_data import DatasetCatalog, Metadata, MetadataCatalog, get_detection_dataset_dicts
from d2_engine.run import from_lazy, from_yacs
from d2_engine.run.settings import LazySettings
from d2_eval import COCOEvaluator, DatasetEvaluator, standard_evaluators

BUILTIN = [name for name in DatasetCatalog.list() if not name.startswith("shapes")]


def yacs_plan(name: str):
    cfg = get_cfg()
    cfg.DATASETS.TEST = (name,)
    return from_yacs(cfg)


def lazy_plan(name: str):
    dataset = LazyCall(get_detection_dataset_dicts)(names="other", filter_empty=False)
    content = {
        "model": {},
        "dataloader": {"test": LazyCall(list)(dataset=dataset), "evaluator": None},
    }
    return from_lazy(LazySettings(OmegaConf.create(content)).with_data(None, name).cfg)


@pytest.fixture
def annotated(tmp_path, monkeypatch):
    """Give a built-in dataset an annotation file; return its name."""

    def annotate(name: str) -> str:
        metadata = MetadataCatalog.get(name)
        if metadata.get("json_file") is None:
            return name
        ids = metadata.get("thing_dataset_id_to_contiguous_id") or {
            number + 1: number for number in range(len(metadata.thing_classes))
        }
        content = {
            "images": [{"id": 1, "height": 9, "width": 9, "file_name": "a.jpg"}],
            "annotations": [],
            "categories": [{"id": number, "name": str(number)} for number in ids],
        }
        (tmp_path / "truth.json").write_text(json.dumps(content))
        changed = metadata.as_dict() | {"json_file": str(tmp_path / "truth.json")}
        monkeypatch.setitem(MetadataCatalog.data, name, Metadata(**changed))
        return name

    return annotate


@pytest.mark.parametrize("make", [yacs_plan, lazy_plan])
@pytest.mark.parametrize("name", BUILTIN)
def test_each_builtin_dataset_has_the_evaluators_of_its_kind(make, name, annotated, tmp_path):
    (test_set,) = make(annotated(name)).test_sets
    made = test_set.evaluators(str(tmp_path))
    wanted = standard_evaluators(name)
    assert isinstance(made, list)
    assert [type(one) for one in made] == [type(one) for one in wanted]


def test_lazy_evaluators_may_be_lists_and_mappings_of_lists(annotated, tmp_path):
    name = annotated("coco_2017_val")
    call = LazyCall(standard_evaluators)(dataset_name=[name])
    loader = LazyCall(list)(dataset=LazyCall(get_detection_dataset_dicts)(names=[name]))
    cfg = OmegaConf.create(
        {
            "model": {},
            "dataloader": {
                "test": loader,
                "evaluator": [call, LazyCall(COCOEvaluator)(dataset_name=[name])],
            },
        }
    )
    made = from_lazy(cfg).test_sets[0].evaluators(str(tmp_path))
    assert [type(one) for one in made] == [COCOEvaluator] * 2
    assert all(isinstance(one, DatasetEvaluator) for one in made)
