"""Registered datasets that are no lists."""

import itertools
from operator import itemgetter

import pytest
from torch.utils.data import ConcatDataset, Dataset, IterableDataset

from d2_config import get_cfg
from d2_data import (
    DatasetCatalog,
    MetadataCatalog,
    SharedStream,
    build_detection_test_loader,
    build_detection_train_loader,
    get_detection_dataset_dicts,
)
from d2_data.checking import check_dataset
from d2_data.conversion import convert
from d2_data.datasets import convert_to_coco_dict
from d2_data.datasets.shapes import generate_shapes, register_shapes


def records(first, count):
    return [
        {
            "image_id": first + i,
            "width": 3,
            "height": 2,
            "annotations": [{"iscrowd": int(i % 4 == 3), "keypoints": [1, 1, i % 3]}] * (i % 4),
        }
        for i in range(count)
    ]


class Stream(IterableDataset):
    """Counts what is read of it."""

    def __init__(self, elements):
        self.elements = elements
        self.read = 0

    def __iter__(self):
        for element in self.elements:
            self.read += 1
            yield element


class Restorable(Stream):
    def __init__(self, elements):
        super().__init__(elements)
        self.at = 0

    def __iter__(self):
        for element in itertools.islice(self.elements, self.at, None):
            self.at, self.read = self.at + 1, self.read + 1
            yield element
        self.at = 0

    def state_dict(self):
        return {"at": self.at}

    def load_state_dict(self, state):
        self.at = state["at"]


class MapStyle(Dataset):
    def __len__(self):
        return 5

    def __getitem__(self, index):
        return records(100, 5)[range(5)[index]]


@pytest.fixture
def register(request):
    """Register a dataset under a name that goes with the test."""
    names = []

    def registered(dataset):
        names.append(f"{request.node.name}_{len(names)}")
        DatasetCatalog.register(names[-1], dataset if callable(dataset) else lambda: dataset)
        return names[-1]

    yield registered
    for name in names:
        DatasetCatalog.remove(name)


def ids(dataset):
    return [record["image_id"] for record in dataset]


def test_iterable_dataset_is_read_only_as_far_as_it_is_used(register):
    stream = Stream(records(0, 1000))
    dataset = get_detection_dataset_dicts(register(stream))
    assert stream.read == 0
    # Without annotations, or with crowds only, an image is left out, as from a list.
    assert list(itertools.islice(ids(itertools.islice(dataset, 4)), 4)) == [1, 2, 5, 6]
    assert stream.read == 7


def test_filters_are_those_of_lists(register):
    listed, streamed = register(records(0, 30)), register(Stream(records(0, 30)))
    for options in ({}, {"filter_empty": False}, {"min_keypoints": 2}):
        assert ids(get_detection_dataset_dicts(streamed, **options)) == ids(
            get_detection_dataset_dicts(listed, **options)
        )


def test_streams_and_lists_follow_one_another(register):
    names = [register(Stream(records(0, 3))), register(records(10, 3)), register(MapStyle())]
    dataset = get_detection_dataset_dicts(names, filter_empty=False)
    assert isinstance(dataset, IterableDataset)
    assert ids(dataset) == [0, 1, 2, 10, 11, 12, 100, 101, 102, 103, 104]


def test_map_style_datasets_are_not_read_to_be_registered(register):
    names = [register(MapStyle()), register(records(10, 3))]
    dataset = get_detection_dataset_dicts(names)
    assert isinstance(dataset, ConcatDataset)
    assert ids(dataset[i] for i in range(len(dataset))) == [100, 101, 102, 103, 104, 10, 11, 12]


def test_errors_of_a_stream_name_the_dataset(register):
    class Broken(IterableDataset):
        def __iter__(self):
            raise OSError("cannot be opened")

    name = register(Broken())
    with pytest.raises(OSError, match=f"dataset '{name}': cannot be opened"):
        list(get_detection_dataset_dicts(name))


def test_proposals_want_a_list(register):
    with pytest.raises(ValueError, match="proposals can be added to lists of dicts only"):
        get_detection_dataset_dicts(register(MapStyle()), proposal_files=["proposals.pkl"])


def test_streams_with_states_are_restored_as_one(register):
    names = [
        register(lambda: Restorable(records(0, 6))),
        register(lambda: Restorable(records(10, 6))),
    ]
    dataset = get_detection_dataset_dicts(names)
    begin = dataset.state_dict()
    everything = ids(dataset)
    assert ids(dataset) == everything
    for count in range(len(everything)):
        dataset.load_state_dict(begin)
        stream = iter(dataset)
        for _ in range(count):
            next(stream)
        state = dataset.state_dict()
        again = get_detection_dataset_dicts(names)
        again.load_state_dict(state)
        assert ids(again) == everything[count:]
        again.load_state_dict(begin)
        assert ids(again) == everything


@pytest.fixture
def cfg():
    cfg = get_cfg()
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.SOLVER.IMS_PER_BATCH = 2
    cfg.SEED = 7
    return cfg


def test_a_config_trains_and_tests_on_a_registered_stream(register, cfg):
    name = register(SharedStream(records(0, 12)))
    cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = (name,)
    cfg.DATALOADER.NUM_WORKERS = 2
    loader = build_detection_train_loader(cfg, mapper=itemgetter("image_id"))
    batches = list(loader)
    assert all(len(batch) == 2 for batch in batches)
    # Each worker leaves what does not fill a batch.
    assert sorted(itertools.chain(*batches)) == [1, 2, 5, 6]
    test = build_detection_test_loader(cfg, name, mapper=itemgetter("image_id"))
    assert sorted(itertools.chain(*test)) == list(range(12))


def test_sampler_of_a_config_that_cannot_order_a_stream_is_not_ignored(register, cfg):
    cfg.DATASETS.TRAIN = (register(Stream(records(0, 4))),)
    cfg.DATALOADER.SAMPLER_TRAIN = "RepeatFactorTrainingSampler"
    with pytest.raises(ValueError, match="an iterable dataset has an order of its own"):
        build_detection_train_loader(cfg)


def test_config_can_ask_for_a_random_subset(register, cfg):
    cfg.DATASETS.TRAIN = (register(records(0, 80)),)
    cfg.DATALOADER.SAMPLER_TRAIN = "RandomSubsetTrainingSampler"
    cfg.DATALOADER.RANDOM_SUBSET_RATIO = 0.25
    loader = build_detection_train_loader(cfg, mapper=itemgetter("image_id"))
    seen = set(itertools.chain(*itertools.islice(loader, 40)))
    assert len(seen) == 10
    again = build_detection_train_loader(cfg, mapper=itemgetter("image_id"))
    assert seen == set(itertools.chain(*itertools.islice(again, 40)))


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("streams") / "shapes"
    generate_shapes(folder, 4, image_size=64, seed=1)
    return folder


CONSUMERS = {
    "to COCO": lambda name, folder: len(convert_to_coco_dict(name)["images"]),
    "checked": lambda name, folder: check_dataset(name).statistics.images,
    "to YOLO": lambda name, folder: convert(name, "dataset", folder / "yolo", "yolo")[0].images,
    "to VOC": lambda name, folder: convert(name, "dataset", folder / "voc", "voc")[0].images,
}


@pytest.mark.parametrize("consumer", CONSUMERS)
def test_whatever_takes_a_name_takes_that_of_a_stream(register, shapes, tmp_path, consumer):
    register_shapes("streamed_shapes", shapes)
    stream = Stream(DatasetCatalog.get("streamed_shapes"))
    DatasetCatalog.register("a_stream", lambda: stream)
    known = MetadataCatalog.get("streamed_shapes")
    MetadataCatalog.get("a_stream").set(
        thing_classes=known.thing_classes,
        keypoint_names=known.keypoint_names,
        keypoint_flip_map=known.keypoint_flip_map,
    )
    assert CONSUMERS[consumer]("a_stream", tmp_path) == 4
    assert stream.read in (4, 8)  # once, or once for the classes and once for the rest
