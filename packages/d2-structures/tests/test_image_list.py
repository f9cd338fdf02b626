import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from d2_structures import ImageList

NO_DEPRECATION = pytest.mark.filterwarnings("ignore:.torch.jit")

sizes = st.lists(st.tuples(st.integers(1, 20), st.integers(1, 20)), min_size=1, max_size=4)


@given(sizes, st.integers(0, 8), st.booleans())
def test_images_come_back_and_the_rest_is_padding(shapes, divisibility, square):
    images = [torch.rand(3, *shape) + 1 for shape in shapes]
    wishes = {"square_size": 5} if square else None
    batch = ImageList.from_tensors(images, divisibility, -1.0, wishes)
    height, width = batch.tensor.shape[-2:]
    assert len(batch) == len(images)
    assert batch.image_sizes == shapes
    for i, image in enumerate(images):
        assert torch.equal(batch[i], image)
    assert (batch.tensor == -1).sum() == 3 * sum(height * width - h * w for h, w in shapes)
    if divisibility > 1:
        assert height % divisibility == width % divisibility == 0
    if square:
        assert height == width >= 5


def test_values_agree_with_the_original_system(golden):
    values = golden["image_list"]
    batch = ImageList.from_tensors(values["imgs"], 32, 0.5)
    assert torch.equal(batch.tensor, values["div32_pad05"])
    assert batch.image_sizes == [tuple(size) for size in values["sizes"]]
    wishes = {"square_size": 64, "size_divisibility": 32}
    square = ImageList.from_tensors(values["imgs"], padding_constraints=wishes)
    assert torch.equal(square.tensor, values["square64"])


def test_constraints_override_the_divisibility():
    batch = ImageList.from_tensors([torch.zeros(5, 5)], 32, 0.0, {"size_divisibility": 4})
    assert batch.tensor.shape == (1, 8, 8)


def test_a_batch_has_storage_of_its_own_and_its_images_share_it():
    image = torch.zeros(1, 4, 4)
    batch = ImageList.from_tensors([image])
    batch[0].fill_(7)
    assert batch.tensor.sum() == 16 * 7
    assert image.sum() == 0


def test_a_slice_gives_a_list_of_images():
    batch = ImageList.from_tensors([torch.zeros(2, 3), torch.zeros(4, 2), torch.zeros(1, 1)])
    assert [tuple(image.shape) for image in batch[1:]] == [(4, 2), (1, 1)]


def test_images_without_and_with_more_channels_are_padded_alike():
    assert ImageList.from_tensors([torch.zeros(2, 3)]).tensor.shape == (1, 2, 3)
    assert ImageList.from_tensors([torch.zeros(7, 5, 2, 3)], 4).tensor.shape == (1, 7, 5, 4, 4)
    assert (
        ImageList.from_tensors([torch.zeros(2, 3, dtype=torch.uint8)]).tensor.dtype == torch.uint8
    )


def test_to_and_repr():
    batch = ImageList.from_tensors([torch.zeros(2, 3)])
    assert batch.to(torch.float64).tensor.dtype == torch.float64
    assert batch.to("cpu").device.type == "cpu"
    assert repr(batch) == "ImageList(shape=[1, 2, 3], image_sizes=[(2, 3)])"


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        ([], ValueError, "at least one"),
        (torch.zeros(2, 3, 4, 4), TypeError, "list of tensors, got Tensor"),
        ([torch.zeros(3, 4, 4), None], TypeError, "image 1 must be a tensor"),
        (
            [torch.zeros(3, 4, 4), torch.zeros(1, 4, 4)],
            ValueError,
            r"image 1 has shape \[1, 4, 4\]",
        ),
        ([torch.zeros(4)], ValueError, r"\(..., H, W\)"),
    ],
)
def test_images_that_do_not_belong_together_are_refused(images, error, message):
    with pytest.raises(error, match=message):
        ImageList.from_tensors(images)


def test_negative_sizes_are_refused():
    with pytest.raises(ValueError, match="must not be negative"):
        ImageList.from_tensors([torch.zeros(2, 2)], -1)
    with pytest.raises(ValueError, match="must not be negative"):
        ImageList.from_tensors([torch.zeros(2, 2)], padding_constraints={"square_size": -1})
    with pytest.raises(ValueError, match=r"\['squaresize'\]; known are"):
        ImageList.from_tensors([torch.zeros(2, 2)], padding_constraints={"squaresize": 4})


def pad(first: torch.Tensor, second: torch.Tensor):
    batch = ImageList.from_tensors([first, second], 8, 0.5)
    return batch.tensor, batch[1]


@NO_DEPRECATION
def test_scripting_gives_the_same():
    images = torch.rand(3, 9, 4), torch.rand(3, 5, 17)
    assert_close(torch.jit.script(pad)(*images), pad(*images))


@NO_DEPRECATION
@pytest.mark.parametrize("square", [0, 24])
def test_a_trace_holds_for_other_image_sizes(square):
    def padded(first, second):
        batch = ImageList.from_tensors([first, second], 8, 0.5, {"square_size": square})
        return batch.tensor, batch[1], batch.image_sizes[0]

    traced = torch.jit.trace(padded, (torch.rand(3, 9, 4), torch.rand(3, 5, 17)))
    other = torch.rand(3, 20, 30), torch.rand(3, 33, 6)
    tensor, second, size = traced(*other)
    expected = padded(*other)
    assert_close((tensor, second), expected[:2])
    assert size.tolist() == list(expected[2])


def test_an_export_holds_for_other_image_sizes():
    class Pad(torch.nn.Module):
        def forward(self, image):
            batch = ImageList.from_tensors([image], 8)
            return batch.tensor, batch[0]

    dynamic = {1: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC}
    exported = torch.export.export(Pad(), (torch.rand(3, 9, 5),), dynamic_shapes=(dynamic,))
    image = torch.rand(3, 20, 30)
    assert_close(exported.module()(image), Pad()(image))
