import numpy as np
import pytest
from PIL import Image

from d2_data.formats import decode_panoptic_png, encode_panoptic_png


def test_ids_of_three_bytes_come_back(tmp_path):
    ids = np.random.default_rng(0).integers(0, 256**3, (7, 9))
    file = tmp_path / "ids.png"
    file.write_bytes(encode_panoptic_png(ids))
    assert np.array_equal(decode_panoptic_png(file), ids)
    assert np.array_equal(decode_panoptic_png(file.read_bytes()), ids)


def test_red_is_the_lowest_byte(tmp_path):
    file = tmp_path / "one.png"
    Image.new("RGB", (1, 1), (1, 2, 3)).save(file)
    assert decode_panoptic_png(file).item() == 1 + 2 * 256 + 3 * 256**2


@pytest.mark.parametrize("number", [-1, 256**3])
def test_ids_out_of_range_are_an_error(number):
    with pytest.raises(ValueError, match=str(number)):
        encode_panoptic_png(np.array([[number]]))
