import json
import os
import pathlib
import pickle
import shutil

import pytest
from PIL import Image

import d2_data.datasets.builtin.readers as readers
import d2_data.datasets.vocabularies as vocabularies
from d2_data import DatasetCatalog, MetadataCatalog
from d2_data.builtin_datasets import BUILTIN_FOLDER, builtin_names, read_index
from d2_data.datasets.vocabularies import read_vocabulary
from d2_data.preparation import prepare_cityscapes

SHARED = pathlib.Path(
    os.environ.get("D2_SHARED", pathlib.Path(__file__).resolve().parents[3].parent / "shared")
)
DESCRIBED = [name for name in builtin_names() if not name.startswith("shapes_")]


@pytest.fixture
def root(tmp_path, monkeypatch):
    """An empty folder of built-in datasets; those used are pending again before and after."""

    def forget():
        for catalog in (DatasetCatalog, MetadataCatalog):
            for name in builtin_names():
                catalog.data.pop(name, None)

    forget()
    monkeypatch.setenv("D2_DATASETS", str(tmp_path))
    yield tmp_path
    forget()


def specified(root):
    """Names and metadata of the specification, with its paths below ``root``."""
    content = json.loads((SHARED / "spec" / "metadata.json").read_text())

    def value(written):
        if isinstance(written, dict) and "$ref" in written:
            return content["tables"][written["$ref"]]
        if isinstance(written, str) and written.startswith("datasets/"):
            return f"{root}/{written.removeprefix('datasets/')}"
        return written

    return {
        name: {key: value(written) for key, written in fields.items()}
        for name, fields in content["datasets"].items()
    }


def plain(metadata):
    """As JSON writes it: keys are texts, tuples are lists."""
    return json.loads(json.dumps(metadata.as_dict()))


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the specification ($D2_SHARED)")
def test_metadata_of_all_builtin_datasets_is_as_specified(root):
    expected = specified(root)
    assert sorted(expected) == sorted(DESCRIBED)
    for name, metadata in expected.items():
        assert plain(MetadataCatalog.get(name)) == metadata, name


def test_there_are_52_of_them():
    assert len(DESCRIBED) == len(set(DESCRIBED)) == 52
    assert set(DESCRIBED) <= set(DatasetCatalog.list())


@pytest.mark.parametrize("name", DESCRIBED)
def test_metadata_is_consistent(root, name):
    metadata = MetadataCatalog.get(name)
    assert metadata.name == name
    for kind in ("thing", "stuff"):
        classes = metadata.get(f"{kind}_classes", [])
        assert all(isinstance(name, str) for name in classes)
        colors = metadata.get(f"{kind}_colors")
        assert colors is None or len(colors) == len(classes)
        assert all(isinstance(c, tuple) and len(c) == 3 for c in colors or ())
        ids = metadata.get(f"{kind}_dataset_id_to_contiguous_id", {})
        assert all(type(i) is int and 0 <= ids[i] < len(classes) for i in ids)
        assert len(set(ids.values())) == len(ids)


def test_coco_objects_and_materials_are_numbered_together_in_the_standard_layout(root):
    metadata = MetadataCatalog.get("coco_2017_val_panoptic")
    things = metadata.thing_dataset_id_to_contiguous_id
    stuff = metadata.stuff_dataset_id_to_contiguous_id
    assert sorted([*things.values(), *stuff.values()]) == list(range(133))
    assert metadata.thing_classes == metadata.stuff_classes
    assert metadata.stuff_classes[stuff[184]] == "tree-merged"


def test_coco_objects_are_one_semantic_class_in_the_separated_layout(root):
    metadata = MetadataCatalog.get("coco_2017_val_panoptic_separated")
    assert len(metadata.thing_classes) == 80
    assert sorted(metadata.stuff_dataset_id_to_contiguous_id.values()) == list(range(54))
    assert metadata.stuff_classes[0] == "things"
    assert metadata.stuff_classes[metadata.stuff_dataset_id_to_contiguous_id[184]] == "tree"


def test_keypoint_metadata_has_the_documented_types(root):
    metadata = MetadataCatalog.get("keypoints_coco_2017_train")
    assert metadata.keypoint_flip_map[0] == ("left_eye", "right_eye")
    assert metadata.keypoint_connection_rules[0] == ("left_ear", "left_eye", (102, 204, 255))


def test_datasets_of_one_vocabulary_share_nothing_that_could_be_changed(root):
    first, second = map(MetadataCatalog.get, ("coco_2017_train", "coco_2017_val"))
    first.thing_classes.append("another")
    assert len(second.thing_classes) == 80


def test_minival_images_are_those_of_val(root):
    for part in ("val", "minival", "valminusminival"):
        for prefix in ("", "keypoints_"):
            metadata = MetadataCatalog.get(f"{prefix}coco_2014_{part}")
            assert metadata.image_root == str(root / "coco" / "val2014")


def test_every_data_file_is_used():
    described = {family["vocabulary"] for family in read_index()["families"]}
    files = {path.name for path in BUILTIN_FOLDER.glob("*.json")}
    assert described == set(vocabularies._VOCABULARIES)
    assert {file for file, _ in vocabularies._VOCABULARIES.values()} == files - {"datasets.json"}


def test_an_unknown_vocabulary_is_named():
    with pytest.raises(ValueError, match=r"no vocabulary 'coca', there are \['ade20k', "):
        read_vocabulary("coca")


def test_asking_for_metadata_opens_no_file_but_its_own(root, monkeypatch):
    read_index()
    opened = []
    original = pathlib.Path.read_bytes

    def read_bytes(path):
        opened.append(path.name)
        return original(path)

    monkeypatch.setattr(pathlib.Path, "read_bytes", read_bytes)
    MetadataCatalog.get("voc_2007_train")
    assert opened == ["pascal_voc.json"]


def test_an_absent_dataset_gets_one_error_that_lists_its_files(root):
    (root / "coco" / "train2017").mkdir(parents=True)
    MetadataCatalog.get("coco_2017_train")
    with pytest.raises(FileNotFoundError) as caught:
        DatasetCatalog.get("coco_2017_train")
    lines = str(caught.value).split("\n")
    assert "'coco_2017_train'" in lines[0]
    assert f"{str(root)!r}, which $D2_DATASETS names" in lines[0]
    assert lines[1:3] == [
        "  ABSENT  coco/annotations/instances_train2017.json",
        "  there   coco/train2017",
    ]


def test_without_a_variable_the_error_names_the_current_folder(root, monkeypatch):
    monkeypatch.delenv("D2_DATASETS")
    monkeypatch.delenv("DETECTRON2_DATASETS", raising=False)
    monkeypatch.chdir(root)
    with pytest.raises(FileNotFoundError, match=r"neither \$D2_DATASETS nor") as caught:
        DatasetCatalog.get("keypoints_coco_2014_minival")
    assert str(root) in str(caught.value)


@pytest.mark.parametrize("name", DESCRIBED)
def test_every_dataset_says_what_is_missing(root, name):
    with pytest.raises(FileNotFoundError, match=rf"'{name}' are absent(.|\n)*  ABSENT  "):
        DatasetCatalog.get(name)


def test_every_kind_has_a_reader():
    assert set(readers.READERS) == set(read_index()["kinds"])


# Small files in place of the published ones

IMAGE = {"id": 1, "file_name": "a.jpg", "height": 4, "width": 6}


def place_json(path, **content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def place_image(path, mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (6, 4)).save(path)


def place_instances(metadata):
    entry = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 2, 2], "iscrowd": 0}
    place_json(
        pathlib.Path(metadata.json_file),
        images=[IMAGE],
        annotations=[] if "test" in metadata.name else [entry],
        categories=[
            {"id": number, "name": metadata.thing_classes[index]}
            for number, index in metadata.get("thing_dataset_id_to_contiguous_id", {1: 0}).items()
        ],
    )
    place_image(pathlib.Path(metadata.image_root) / "a.jpg")


def place_panoptic(metadata):
    place_image(pathlib.Path(metadata.image_root) / "a.jpg")
    place_image(pathlib.Path(metadata.panoptic_root) / "a.png")
    segment = {"id": 3, "category_id": 184, "iscrowd": 0, "area": 24}
    entry = {"image_id": 1, "file_name": "a.png", "segments_info": [segment]}
    place_json(
        pathlib.Path(metadata.panoptic_json), images=[IMAGE], annotations=[entry], categories=[]
    )


def place_separated(metadata):
    place_instances(metadata)
    place_image(pathlib.Path(metadata.sem_seg_root) / "a.png", "L")


def place_semantic(metadata):
    place_image(pathlib.Path(metadata.image_root) / "a.jpg")
    place_image(pathlib.Path(metadata.sem_seg_root) / "a.png", "L")


def place_lvis(metadata):
    place_image(pathlib.Path(metadata.image_root) / "val2017" / "a.jpg")
    url = {"coco_url": "http://images.cocodataset.org/val2017/a.jpg"}
    place_json(
        pathlib.Path(metadata.json_file),
        images=[{key: IMAGE[key] for key in ("id", "height", "width")} | url],
        annotations=[{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 2, 2]}],
        categories=[{"id": 1, "name": "aerosol_can"}],
    )


def place_voc(metadata):
    folder = pathlib.Path(metadata.dirname)
    place_image(folder / "JPEGImages" / "a.jpg")
    for name in ("Annotations", "ImageSets/Main"):
        (folder / name).mkdir(parents=True)
    (folder / "ImageSets" / "Main" / f"{metadata.split}.txt").write_text("a\n")
    box = "<xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax>"
    (folder / "Annotations" / "a.xml").write_text(
        "<annotation><size><width>6</width><height>4</height></size>"
        f"<object><name>person</name><bndbox>{box}</bndbox></object></annotation>"
    )


PLACE = {
    "coco_instances": place_instances,
    "coco_keypoints": place_instances,
    "coco_panoptic": place_panoptic,
    "coco_panoptic_separated": place_separated,
    "sem_seg": place_semantic,
    "lvis": place_lvis,
    "voc": place_voc,
}
OF_KIND = [
    (name, family["kind"]) for family in read_index()["families"] for name in family["datasets"]
]


@pytest.mark.parametrize(("name", "kind"), [x for x in OF_KIND if x[1] in PLACE])
def test_a_dataset_is_read_once_its_files_are_in_place(root, name, kind):
    PLACE[kind](MetadataCatalog.get(name))
    (record,) = DatasetCatalog.get(name)
    assert os.path.isfile(record["file_name"])
    for annotation in record.get("annotations", ()):
        assert annotation["category_id"] in range(len(MetadataCatalog.get(name).thing_classes))


@pytest.mark.parametrize("name", [name for name, kind in OF_KIND if kind not in PLACE])
def test_a_dataset_of_cityscapes_is_read_once_its_files_are_in_place(root, name, write_cityscapes):
    split = name.rpartition("_")[2]
    write_cityscapes(root / "cityscapes", split)
    prepare_cityscapes(root / "cityscapes", [split])
    (record,) = DatasetCatalog.get(name)
    assert os.path.isfile(record["file_name"])
    assert (record["height"], record["width"]) == (48, 64)
    for key in ("sem_seg_file_name", "pan_seg_file_name"):
        assert os.path.isfile(record.get(key, record["file_name"]))
    assert record.get("annotations") or record.get("segments_info") or "sem_seg" in name


@pytest.mark.parametrize("part", ["minival", "valminusminival"])
def test_a_small_dataset_in_place_is_read(root, part):
    (root / "coco" / "annotations").mkdir(parents=True)
    (root / "coco" / "val2014").mkdir()
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "height": 4, "width": 6}],
        "categories": [{"id": 1, "name": "person"}],
        "annotations": 2 * [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 2, 2]}],
    }
    file = root / "coco" / "annotations" / f"person_keypoints_{part}2014.json"
    file.write_text(json.dumps(content))
    (sample,) = DatasetCatalog.get(f"keypoints_coco_2014_{part}")
    assert sample["file_name"] == str(root / "coco" / "val2014" / "a.jpg")
    assert len(sample["annotations"]) == 2


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the folder of real data ($D2_SHARED)")
def test_real_photographs_placed_as_coco_2017_are_read(root):
    source = SHARED / "data" / "coco54"
    (root / "coco" / "annotations").mkdir(parents=True)
    (root / "coco" / "val2017").symlink_to(source / "images")
    target = root / "coco" / "annotations" / "instances_val2017.json"
    shutil.copy(source / "instances_coco54.json", target)
    samples = DatasetCatalog.get("coco_2017_val")
    assert len(samples) == 54
    assert all(os.path.isfile(sample["file_name"]) for sample in samples)
    assert MetadataCatalog.get("coco_2017_val").thing_classes[0] == "person"


def test_the_loading_function_can_be_sent_to_another_process(root):
    load = pickle.loads(pickle.dumps(DatasetCatalog["coco_2017_val"]))
    with pytest.raises(FileNotFoundError, match="coco_2017_val"):
        load()


def test_the_folder_is_that_of_the_first_use(root, monkeypatch):
    json_file = MetadataCatalog.get("coco_2017_val").json_file
    monkeypatch.setenv("D2_DATASETS", "/another")
    assert MetadataCatalog.get("coco_2017_val").json_file == json_file
    with pytest.raises(FileNotFoundError, match=f"{root}"):
        DatasetCatalog.get("coco_2017_val")
