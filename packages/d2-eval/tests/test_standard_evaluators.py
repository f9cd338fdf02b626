"""Every dataset finds the evaluators of its kind."""

import json

import pytest

from d2_data import DatasetCatalog, Metadata, MetadataCatalog
from d2_eval import COCOEvaluator, LVISEvaluator, standard_evaluators

BUILTIN = [name for name in DatasetCatalog.list() if not name.startswith("shapes")]
EXPECTED = {
    "coco": ["COCOEvaluator"],
    "keypoints_coco": ["COCOEvaluator"],
    "panoptic": ["COCOEvaluator", "SemSegEvaluator", "COCOPanopticEvaluator"],
    "stuffonly": ["SemSegEvaluator"],
    "lvis": ["LVISEvaluator"],
    "voc": ["PascalVOCDetectionEvaluator"],
    "cityscapes_fine_instance_seg": ["CityscapesInstanceEvaluator"],
    "cityscapes_fine_sem_seg": ["CityscapesSemSegEvaluator"],
    "cityscapes_fine_panoptic": [
        "CityscapesSemSegEvaluator",
        "CityscapesInstanceEvaluator",
        "COCOPanopticEvaluator",
    ],
    "ade20k": ["SemSegEvaluator"],
}


def expected_evaluators(name: str) -> list[str]:
    for part in ("stuffonly", "cityscapes_fine_panoptic", "panoptic"):
        if part in name:
            return EXPECTED[part]
    return next(kinds for start, kinds in EXPECTED.items() if name.startswith(start))


@pytest.fixture
def annotation_file(tmp_path):
    """A file that is COCO's and LVIS' at once, of as many classes as the metadata has."""

    def write(metadata: Metadata) -> str:
        ids = metadata.get("thing_dataset_id_to_contiguous_id") or {
            number + 1: number for number in range(len(metadata.get("thing_classes") or ["x"]))
        }
        image = {"id": 1, "height": 9, "width": 9, "file_name": "a.jpg"}
        content = {
            "images": [image | {"neg_category_ids": [], "not_exhaustive_category_ids": []}],
            "annotations": [],
            "categories": [{"id": number, "name": str(number)} for number in ids],
        }
        path = tmp_path / "annotations.json"
        path.write_text(json.dumps(content))
        return str(path)

    return write


@pytest.mark.parametrize("name", BUILTIN)
def test_each_builtin_dataset_finds_its_evaluators(name, annotation_file, tmp_path, monkeypatch):
    metadata = MetadataCatalog.get(name)
    if metadata.get("json_file") is not None:
        changed = Metadata(**{**metadata.as_dict(), "json_file": annotation_file(metadata)})
        monkeypatch.setitem(MetadataCatalog.data, name, changed)
    evaluators = standard_evaluators(name, tmp_path)
    assert [type(one).__name__ for one in evaluators] == expected_evaluators(name)
    for evaluator in evaluators:
        evaluator.reset()


def test_there_are_52_builtin_datasets():
    assert len(BUILTIN) == 52


def test_a_dataset_without_a_kind_has_cocos_metrics(register, coco_content, tmp_path):
    (tmp_path / "truth.json").write_text(json.dumps(coco_content))
    register("pets", json_file=str(tmp_path / "truth.json"))
    (evaluator,) = standard_evaluators(["pets"], kpt_oks_sigmas=[0.1])
    assert isinstance(evaluator, COCOEvaluator)
    assert not isinstance(evaluator, LVISEvaluator)


def test_a_kind_that_is_not_known_is_named(register):
    register("pets", evaluator_type="pet_show")
    with pytest.raises(ValueError, match="evaluator_type 'pet_show' of the dataset 'pets'.*coco"):
        standard_evaluators("pets")


def test_datasets_of_several_kinds_have_no_evaluator_in_common(register):
    register("pets", evaluator_type="coco")
    register("roads", evaluator_type="sem_seg")
    with pytest.raises(ValueError, match=r"\{'pets': 'coco', 'roads': 'sem_seg'\}"):
        standard_evaluators(["pets", "roads"])
    with pytest.raises(ValueError, match="got no dataset"):
        standard_evaluators([])


def test_an_unknown_dataset_is_named():
    with pytest.raises(KeyError, match="'coco_2017_vall' is not registered; did you mean"):
        standard_evaluators("coco_2017_vall")
