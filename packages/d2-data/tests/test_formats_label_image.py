import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from d2_data import DatasetMapper
from d2_data.formats import read_label_map

LABELS = np.array([[0, 1, 2], [7, 19, 255]], dtype=np.uint8)


def save(picture: Image.Image, folder, name: str = "labels.png") -> str:
    path = folder / name
    picture.save(path)
    return str(path)


def palette_image(labels: np.ndarray) -> Image.Image:
    """Labels as VOC's files hold them: indices into colours that mean nothing to a model."""
    picture = Image.fromarray(labels).convert("P")
    picture.putdata(labels.reshape(-1).tolist())
    picture.putpalette([(37 * i + 11) % 256 for i in range(768)])
    return picture


def test_the_labels_of_a_palette_image_are_its_indices(tmp_path):
    path = save(palette_image(LABELS), tmp_path)
    with Image.open(path) as picture:
        assert picture.mode == "P"
        assert not np.array_equal(np.asarray(picture.convert("L")), LABELS)
    np.testing.assert_array_equal(read_label_map(path), LABELS)


def test_training_reads_the_labels_of_a_palette_image_that_evaluation_reads(tmp_path):
    photo = save(Image.new("RGB", (3, 2)), tmp_path, "photo.png")
    path = save(palette_image(LABELS), tmp_path)
    mapper = DatasetMapper(is_train=True, augmentations=[], image_format="RGB")
    sample = mapper({"file_name": photo, "sem_seg_file_name": path})
    np.testing.assert_array_equal(sample["sem_seg"].numpy(), LABELS)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(arrays(np.uint8, st.tuples(st.integers(1, 6), st.integers(1, 6))))
def test_grey_and_palette_images_of_the_same_labels_read_the_same(tmp_path, labels):
    grey = save(Image.fromarray(labels), tmp_path, "grey.png")
    coloured = save(palette_image(labels), tmp_path, "palette.png")
    for path in (grey, coloured):
        read = read_label_map(path)
        assert read.dtype == np.uint8
        np.testing.assert_array_equal(read, labels)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(arrays(np.uint16, st.tuples(st.integers(1, 6), st.integers(1, 6))))
def test_labels_of_16_bits_are_kept(tmp_path, labels):
    read = read_label_map(save(Image.fromarray(labels), tmp_path))
    assert read.dtype == np.int32
    np.testing.assert_array_equal(read, labels)


def test_an_image_of_one_bit_has_the_labels_0_and_1(tmp_path):
    read = read_label_map(save(Image.fromarray(LABELS).point(lambda v: v > 2, "1"), tmp_path))
    np.testing.assert_array_equal(read, LABELS > 2)
    assert read.dtype == np.uint8


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_colours_are_refused(tmp_path, mode):
    path = save(Image.new(mode, (2, 2)), tmp_path)
    with pytest.raises(ValueError, match=rf"labels\.png' is of Pillow's mode '{mode}'.*palette"):
        read_label_map(path)


def test_absent_and_damaged_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.png"):
        read_label_map(tmp_path / "none.png")
    for content in (b"no image", (tmp_path / save(Image.fromarray(LABELS), tmp_path))):
        damaged = tmp_path / "damaged.png"
        damaged.write_bytes(content if isinstance(content, bytes) else content.read_bytes()[:50])
        with pytest.raises(OSError, match=r"damaged\.png' (is not an image|cannot be read)"):
            read_label_map(damaged)
