"""Steps of checkpointers, mappers and datasets that subclasses overwrite as in detectron2."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import d2_data
from d2_data.transforms import Resize
from d2_engine.compat.shims.checkpointers import Checkpointer, DetectionCheckpointer
from d2_engine.compat.shims.file_io import PathManager
from d2_engine.compat.shims.loading import AspectRatioGroupedDataset, MapDataset
from d2_engine.compat.shims.mappers import DatasetMapper


@pytest.mark.parametrize("kind", [Checkpointer, DetectionCheckpointer])
def test_a_checkpointer_reads_and_loads_by_steps_of_ones_own(kind: Any, tmp_path: Path):
    class Mine(kind):
        def _load_file(self, filename: str) -> Any:
            if filename.endswith(".json"):
                content = json.loads(Path(filename).read_text())
                return {"model": {name: torch.tensor(v) for name, v in content.items()}, "epoch": 3}
            return super()._load_file(filename)

        def _load_model(self, checkpoint: Any) -> Any:
            weights = checkpoint["model"]
            checkpoint["model"] = {n.removeprefix("student."): v for n, v in weights.items()}
            found.append(super()._load_model(checkpoint))
            return found[-1]

    found: list[Any] = []
    path = tmp_path / "weights.json"
    path.write_text(json.dumps({"student.weight": [[2.0]], "student.bias": [1.0]}))
    model = nn.Linear(1, 1)
    checkpointer = Mine(model, str(tmp_path))
    assert checkpointer.path_manager is PathManager
    assert checkpointer.load(str(path)) == {"epoch": 3}
    assert (model.weight.item(), model.bias.item()) == (2.0, 1.0)
    assert found[0].missing_keys == found[0].unexpected_keys == []
    checkpointer.save("model_0")
    model.weight.data.fill_(7.0)
    assert checkpointer.resume_or_load("") == {}
    assert model.weight.item() == 2.0


def record(folder: Path) -> dict[str, Any]:
    path = str(folder / "image.png")
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(path)
    annotation = {"bbox": [2, 3, 10, 8], "bbox_mode": 1, "category_id": 4, "iscrowd": 0}
    return {"file_name": path, "height": 20, "width": 30, "annotations": [annotation]}


def mapper(kind: Any, **options: Any) -> Any:
    return kind(is_train=True, augmentations=[Resize((40, 60))], image_format="BGR", **options)


def test_a_mapper_transforms_annotations_by_a_step_of_ones_own(tmp_path: Path):
    class Numbered(DatasetMapper):
        def _transform_annotations(self, dataset_dict: Any, transforms: Any, shape: Any) -> None:
            super()._transform_annotations(dataset_dict, transforms, shape)
            dataset_dict["instances"].gt_number = torch.arange(len(dataset_dict["instances"]))

    mapped = mapper(Numbered)(record(tmp_path))
    usual = mapper(d2_data.DatasetMapper)(record(tmp_path))
    assert mapped["instances"].gt_number.tolist() == [0]
    assert torch.equal(mapped["image"], usual["image"])
    assert torch.equal(mapped["instances"].gt_boxes.tensor, usual["instances"].gt_boxes.tensor)
    assert mapped["instances"].gt_classes.tolist() == [4]


def test_a_mapper_that_is_not_overwritten_maps_as_that_of_d2(tmp_path: Path):
    mapped, usual = (
        mapper(kind)(record(tmp_path)) for kind in (DatasetMapper, d2_data.DatasetMapper)
    )
    assert torch.equal(mapped["image"], usual["image"])
    assert mapped.keys() == usual.keys()


def test_datasets_hold_what_subclasses_use():
    class Kinds(AspectRatioGroupedDataset):
        def __iter__(self) -> Any:
            for number in self.dataset:
                bucket = self._buckets[number % 2]
                bucket.append(number)
                if len(bucket) == self.batch_size:
                    yield bucket[:]
                    bucket.clear()

    assert list(Kinds([1, 2, 3, 4], 2)) == [[1, 3], [2, 4]]

    class Retrying(MapDataset):
        def __getitem__(self, idx: int) -> Any:
            found = self._map_func(self._dataset[idx])
            if found is None:
                self._fallback_candidates.discard(idx)
                return self[self._rng.choice(sorted(self._fallback_candidates))]
            return found

    assert Retrying([0, 5], lambda number: number or None)[0] == 5
