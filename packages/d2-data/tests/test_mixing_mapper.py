"""A mapper that mixes: in loaders, in plain Python, from configs."""

import itertools

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset

from d2_config import LazyCall as L
from d2_config import LazyConfig, get_cfg, instantiate
from d2_data import (
    DatasetCatalog,
    DatasetMapper,
    MetadataCatalog,
    SharedStream,
    build_detection_train_loader,
    get_detection_dataset_dicts,
)
from d2_data import transforms as T
from d2_data.mixing import CopyPaste, MixingMapper, MixUp, Mosaic
from d2_ops.host import rle_encode
from d2_structures import BoxMode, comm

many_workers = pytest.mark.filterwarnings("ignore:This DataLoader will create")
MIXES = [Mosaic((20, 24), prob=0.7), MixUp(prob=0.5), CopyPaste(prob=0.7)]


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Nine pictures of one bright rectangle each; polygons and run lengths take turns."""
    folder = tmp_path_factory.mktemp("pictures")
    found = []
    for k in range(9):
        height, width = 16 + k, 30 - 2 * k
        mask = np.zeros((height, width), np.uint8)
        mask[3 : 10 + k % 4, 4 : 12 + k % 3] = 1
        y1, x1 = 10 + k % 4, 12 + k % 3
        Image.fromarray(np.stack([mask * 10 * (k + 1)] * 3, axis=2)).save(folder / f"{k}.png")
        polygon = [[4, 3, x1, 3, x1, y1, 4, y1]]
        annotation = {
            "bbox": [4, 3, x1, y1],
            "bbox_mode": BoxMode.XYXY_ABS,
            "category_id": k,
            "segmentation": polygon if k % 2 else rle_encode(mask.astype(bool)),
            "keypoints": [5.0, 4.0, 2, x1 - 1.0, 4.0, 2],
        }
        found.append(
            {
                "file_name": str(folder / f"{k}.png"),
                "height": height,
                "width": width,
                "image_id": k,
                "annotations": [annotation],
            }
        )
    return found


def single(is_train=True, **settings):
    settings = {"use_instance_mask": True, "instance_mask_format": "bitmask"} | settings
    return DatasetMapper(
        is_train,
        augmentations=[T.RandomFlip()],
        image_format="RGB",
        use_keypoint=True,
        keypoint_hflip_indices=[1, 0],
        **settings,
    )


class MapStyle(Dataset):
    def __init__(self, elements):
        self.elements = elements

    def __len__(self):
        return len(self.elements)

    def __getitem__(self, index):
        return self.elements[index]


def plain(batch):
    """What a batch is made of, to be compared."""
    return [
        (
            sample["image_id"],
            sample["image"].tolist(),
            sample["instances"].gt_boxes.tensor.tolist(),
            sample["instances"].gt_classes.tolist(),
            sample["instances"].gt_masks.tensor.tolist(),
        )
        for sample in batch
    ]


def loader(dataset, num_workers=0, mapper=None, **options):
    return build_detection_train_loader(
        dataset,
        mapper=mapper or MixingMapper(single(), MIXES),
        total_batch_size=2 * comm.get_world_size(),
        num_workers=num_workers,
        seed=7,
        **options,
    )


def batches(found, count):
    return [plain(batch) for batch in itertools.islice(found, count)]


@pytest.mark.parametrize("kind", [list, MapStyle])
@many_workers
def test_mixtures_do_not_depend_on_the_number_of_workers(records, kind):
    alone = batches(loader(kind(records)), 6)
    assert batches(loader(kind(records), 3), 6) == alone
    assert batches(loader(kind(records)), 6) == alone


def test_pictures_are_mixed_with_others_of_the_dataset(records):
    classes = [
        set(sample["instances"].gt_classes.tolist()) - {sample["image_id"]}
        for batch in itertools.islice(loader(records), 12)
        for sample in batch
    ]
    assert len(set().union(*classes)) == 9


@pytest.mark.parametrize("world_size", [1, 2, 4])
@pytest.mark.parametrize("kind", [list, MapStyle])
def test_resumed_run_goes_on_with_the_same_mixtures(records, kind, world_size, monkeypatch):
    monkeypatch.setattr(comm, "get_world_size", lambda: world_size)
    for rank in range(world_size):
        monkeypatch.setattr(comm, "get_rank", lambda rank=rank: rank)
        whole = batches(loader(kind(records)), 5)
        stopped = loader(kind(records))
        assert batches(stopped, 2) == whole[:2]
        resumed = loader(kind(records), 2 if rank == 0 else 0)
        resumed.load_state_dict(stopped.state_dict())
        assert batches(resumed, 3) == whole[2:]


def test_in_plain_python_the_mapper_draws_from_a_dataset_that_it_is_given(records):
    mapper = MixingMapper(single(), [Mosaic((20, 24))], dataset=records)
    np.random.seed(3)
    first = mapper(records[0])
    np.random.seed(3)
    assert plain([mapper(records[0])]) == plain([first])
    assert first["image"].shape == (3, 20, 24)
    assert "annotations" in records[0]


def test_without_a_dataset_to_draw_from_the_remedy_is_said(records):
    with pytest.raises(ValueError, match="no dataset to draw further samples from.*dataset="):
        MixingMapper(single(), [MixUp()])(records[0])


def test_stream_needs_a_dataset_to_draw_from_and_says_so(records):
    stream = SharedStream(records)
    with pytest.raises(TypeError, match=r"\(SharedStream\) do not have: construct it with"):
        loader(stream, mapper=MixingMapper(single(), MIXES))
    with pytest.raises(TypeError, match="construct it with dataset="):
        MixingMapper(single(), MIXES, dataset=stream)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_stream_is_mixed_with_a_dataset_and_resumed(records, num_workers):
    def make():
        mapper = MixingMapper(single(), MIXES, dataset=records)
        return loader(SharedStream(records * 9), num_workers, mapper)

    whole = batches(make(), 5)
    stopped = make()
    batches(stopped, 2)
    resumed = make()
    resumed.load_state_dict(stopped.state_dict())
    assert batches(resumed, 3) == whole[2:]


def test_errors_of_further_samples_name_them(records):
    broken = [records[0], {**records[1], "file_name": "gone.png"}]
    mapper = MixingMapper(single(), [Mosaic((9, 9))], dataset=broken)
    np.random.seed(0)
    with pytest.raises(FileNotFoundError) as caught:
        mapper(records[0])
    said = " ".join([str(caught.value), *getattr(caught.value, "__notes__", ())])
    assert "gone.png" in said
    assert "the sample drawn to be mixed in" in said


@pytest.mark.parametrize("where", ["loader", "mapper"])
def test_further_samples_that_cannot_be_loaded_are_replaced_and_listed(records, where):
    broken = [*records, {**records[1], "file_name": "gone.png", "image_id": 99}]
    mapper = MixingMapper(
        single(on_error="skip" if where == "mapper" else "raise"), [Mosaic((9, 9))]
    )
    found = loader(broken, 0, mapper, on_error="skip" if where == "loader" else "raise")
    for batch in itertools.islice(found, 12):
        assert {sample["image_id"] for sample in batch} <= set(range(9))
    assert {entry.record for entry in found.skipped} == {"image 'gone.png' (image_id 99)"}


def test_mapper_that_skips_does_so_too_once_it_suits_the_records(records):
    broken = [*records, {**records[1], "file_name": "gone.png", "image_id": 99}]
    skipping = MixingMapper(single(), [Mosaic((9, 9))]).drawing_from(broken, "skip")
    suited = skipping.suited_to(broken)
    for seed in range(12):
        np.random.seed(seed)
        suited(records[0])
    assert {entry.record for entry in suited.skipped} == {"image 'gone.png' (image_id 99)"}


def test_element_without_a_sample_stays_without_one(records):
    mapper = MixingMapper(lambda record: None, [MixUp()], dataset=records)
    assert mapper(records[0]) is None


def test_dataset_without_masks_is_mixed_by_its_boxes(records, caplog):
    boxes_only = [
        {
            **record,
            "annotations": [
                {key: a[key] for key in ("bbox", "bbox_mode", "category_id")}
                for a in record["annotations"]
            ],
        }
        for record in records
    ]
    mapper = MixingMapper(
        DatasetMapper(True, augmentations=[], image_format="RGB", use_instance_mask=True),
        [Mosaic((20, 24)), MixUp()],
    )
    batch = next(iter(loader(boxes_only, 0, mapper)))
    assert all(not sample["instances"].has("gt_masks") for sample in batch)
    assert "boxes are trained" in caplog.text


def test_masks_of_polygons_and_run_lengths_agree_with_boxes_and_pixels(records):
    for batch in itertools.islice(loader(records), 10):
        for sample in batch:
            instances = sample["instances"]
            drawn = instances.gt_masks.get_bounding_boxes().tensor
            torch.testing.assert_close(drawn, instances.gt_boxes.tensor)
            assert len(instances.gt_keypoints) == len(instances)


def test_augmentations_follow_the_mixture(records):
    mapper = MixingMapper(
        single(),
        [Mosaic((20, 24))],
        dataset=records,
        augmentations=[T.HFlipTransform(24), T.Resize((40, 48)), T.PadTransform(0, 0, 2, 2)],
        keypoint_hflip_indices=[1, 0],
    )
    bare = MixingMapper(mapper.mapper, mapper.mixes, dataset=records)
    np.random.seed(1)
    expected = bare(records[0])["instances"]
    np.random.seed(1)
    mixed = mapper(records[0])
    assert mixed["image"].shape == (3, 42, 50)
    x0, y0, x1, y1 = expected.gt_boxes.tensor.T
    flipped = 2 * torch.stack([24 - x1, y0, 24 - x0, y1], dim=1)
    torch.testing.assert_close(mixed["instances"].gt_boxes.tensor, flipped)
    drawn = mixed["instances"].gt_masks.get_bounding_boxes().tensor
    torch.testing.assert_close(drawn, flipped)
    seen = expected.gt_keypoints.tensor[..., 2]
    assert torch.equal(mixed["instances"].gt_keypoints.tensor[..., 2], seen.flip(1))


def test_padding_by_an_ignored_label_adds_nothing_to_masks(records):
    mapper = MixingMapper(single(), [], dataset=records, augmentations=[T.FixedSizeCrop((60, 60))])
    for record in records:
        instances = mapper(record)["instances"]
        drawn = instances.gt_masks.get_bounding_boxes().tensor
        torch.testing.assert_close(drawn, instances.gt_boxes.tensor)


def test_only_mixes_are_taken():
    with pytest.raises(TypeError, match="mixes hold Mosaic, MixUp and such, got RandomFlip"):
        MixingMapper(single(), [T.RandomFlip()])


# Configs


def test_lazy_configs_build_it_by_target(records):
    DatasetCatalog.register("to_mix", lambda: records)
    node = L(build_detection_train_loader)(
        dataset=L(get_detection_dataset_dicts)(names="to_mix"),
        mapper=L(MixingMapper)(
            mapper=L(DatasetMapper)(
                is_train=True,
                augmentations=[L(T.RandomFlip)()],
                image_format="RGB",
                use_instance_mask=True,
                instance_mask_format="bitmask",
            ),
            mixes=[L(Mosaic)(size=(20, 24)), L(CopyPaste)(prob=0.5)],
        ),
        total_batch_size=2,
        seed=1,
    )
    batch = next(iter(instantiate(node)))
    assert [tuple(sample["image"].shape) for sample in batch] == [(3, 20, 24)] * 2


def test_yaml_files_name_it_without_more_trust(tmp_path):
    (tmp_path / "mixing.yaml").write_text(
        """
        mapper:
          _target_: d2_data.mixing.MixingMapper
          mapper: {_target_: d2_data.DatasetMapper, is_train: true, augmentations: [],
                   image_format: BGR}
          mixes:
          - {_target_: d2_data.mixing.Mosaic, size: [20, 24], prob: 0.5}
          - {_target_: d2_data.mixing.CopyPaste, max_objects: 3}
        """
    )
    mapper = instantiate(LazyConfig.load(tmp_path / "mixing.yaml").mapper)
    assert repr(mapper.mixes) == "[Mosaic(size=(20, 24), prob=0.5), CopyPaste(max_objects=3)]"


def test_yacs_configs_take_it_as_the_mapper(records):
    DatasetCatalog.register("to_mix", lambda: records)
    MetadataCatalog.get("to_mix").set(
        keypoint_names=["left", "right"], keypoint_flip_map=[("left", "right")]
    )
    cfg = get_cfg()
    cfg.DATASETS.TRAIN = ("to_mix",)
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.SOLVER.IMS_PER_BATCH = 2
    cfg.INPUT.MIN_SIZE_TRAIN = (40,)
    cfg.INPUT.MASK_FORMAT = "bitmask"
    cfg.MODEL.MASK_ON = True
    mapper = MixingMapper(DatasetMapper(cfg, is_train=True), [Mosaic((50, 60)), CopyPaste()])
    batch = next(iter(build_detection_train_loader(cfg, mapper=mapper)))
    assert [tuple(sample["image"].shape) for sample in batch] == [(3, 50, 60)] * 2
    assert all(sample["instances"].has("gt_masks") for sample in batch)
