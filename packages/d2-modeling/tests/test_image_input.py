"""The first step of every model, and the last."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from d2_modeling import host_waits
from d2_modeling.backbone import Backbone
from d2_modeling.batched_selection import Detections
from d2_modeling.image_checks import picture_of
from d2_modeling.image_input import ImageInput, clipped_outputs, output_size, postprocessed
from d2_structures import Boxes, Instances

MEAN, STD = [10.0, 20.0, 30.0], [2.0, 4.0, 5.0]


class Padding(Backbone):
    def __init__(self, divisor: int = 0, square: int = 0) -> None:
        super().__init__()
        self.divisor, self.square = divisor, square

    @property
    def size_divisibility(self) -> int:
        return self.divisor

    @property
    def padding_constraints(self) -> dict[str, int]:
        return {"square_size": self.square} if self.square else {}

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {}


def noise(height: int, width: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.tuples(st.integers(1, 20), st.integers(1, 20)), min_size=1, max_size=3),
    st.sampled_from([0, 1, 8]),
)
def test_images_are_normalised_and_padded_with_zeros(
    sizes: list[tuple[int, int]], divisor: int
) -> None:
    images = [noise(*size, seed) for seed, size in enumerate(sizes)]
    batch = ImageInput(MEAN, STD).batch_images([{"image": x} for x in images], Padding(divisor))
    assert batch.image_sizes == sizes
    height, width = batch.tensor.shape[-2:]
    for bound, got in zip(map(max, zip(*sizes, strict=True)), (height, width), strict=True):
        assert got == (-(-bound // divisor) * divisor if divisor > 1 else bound)
    for image, row in zip(images, batch.tensor, strict=True):
        for channel in range(3):
            wanted = (image[channel].double() - MEAN[channel]) / STD[channel]
            inside = row[channel, : image.shape[1], : image.shape[2]]
            torch.testing.assert_close(inside.double(), wanted, rtol=1e-6, atol=1e-6)
        assert row[:, image.shape[1] :].abs().sum() == 0
        assert row[:, :, image.shape[2] :].abs().sum() == 0


@pytest.mark.parametrize("backbone", [Padding(), Padding(8), Padding(0, 32), Padding(8, 16)])
def test_a_padded_batch_is_normalised_as_its_images_are(backbone: Padding) -> None:
    images = [noise(13, 20, 1), noise(18, 9, 2)]
    model = ImageInput(MEAN, STD)
    wanted = model.batch_images([{"image": x} for x in images], backbone)
    padded = torch.full((2, 3, 18, 20), 77.0)  # what is there does not matter
    for row, image in zip(padded, images, strict=True):
        row[:, : image.shape[1], : image.shape[2]] = image
    sizes = torch.tensor(wanted.image_sizes)
    torch.testing.assert_close(model.normalized_tensor(padded, sizes, backbone), wanted.tensor)


def test_statistics_have_to_have_one_length() -> None:
    with pytest.raises(ValueError, match="differ in length"):
        ImageInput([0.0], [1.0, 1.0])


def test_images_of_one_channel_are_as_good_as_any() -> None:
    batch = ImageInput([1.0], [2.0]).batch_images([{"image": torch.ones(1, 4, 4)}], Padding())
    assert batch.tensor.shape == (1, 1, 4, 4)
    assert not batch.tensor.any()


def test_statistics_move_with_the_model_but_are_no_weights() -> None:
    model = ImageInput(MEAN, STD)
    assert model.state_dict() == {}
    assert model.to("meta").device.type == "meta"


def test_labels_are_padded_with_what_is_ignored() -> None:
    model = ImageInput(MEAN, STD)
    inputs = [{"image": noise(5, 7), "sem_seg": torch.ones(5, 7, dtype=torch.uint8)}]
    images = model.batch_images(inputs, Padding(8))
    labels = model.batch_sem_seg(inputs, images, Padding(8), 255)
    assert labels.dtype == torch.int64
    assert labels.shape == (1, 8, 8)
    assert (labels[0, :5, :7] == 1).all()
    assert int((labels == 255).sum()) == 64 - 35


@pytest.mark.parametrize(
    ("target", "message"),
    [(None, "got NoneType"), (torch.zeros(7, 5), r"got \(7, 5\)"), ([[1]], "got list")],
)
def test_labels_of_another_size_are_refused(target: Any, message: str) -> None:
    model = ImageInput(MEAN, STD)
    inputs = [{"image": noise(5, 7), "sem_seg": target}]
    images = model.batch_images(inputs, Padding())
    with pytest.raises(ValueError, match=message):
        model.batch_sem_seg(inputs, images, Padding(), 255)


def test_either_all_inputs_have_instances_or_none() -> None:
    model = ImageInput(MEAN, STD)
    one = {"proposals": Instances((4, 4))}
    assert model.instances_of([{}, {}], "proposals") is None
    assert model.instances_of([one, one], "proposals") is not None
    with pytest.raises(ValueError, match=r"inputs \[1\] have no 'proposals', the others"):
        model.instances_of([one, {}], "proposals")


class Described:
    """Something for each of two instances whose ``to`` takes a device and nothing else."""

    def __init__(self, device: str = "meta") -> None:
        self.device = device

    def __len__(self) -> int:
        return 2

    def to(self, device: torch.device) -> "Described":
        return Described(device.type)


class Annotations(Instances):
    """Instances of one's own."""


@pytest.mark.parametrize("kind", [Instances, Annotations])
@pytest.mark.parametrize("at_once", [True, False])
def test_fields_of_every_kind_are_moved(
    kind: type[Instances], at_once: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_waits, "_is_read_at_once", lambda device: at_once)
    given = kind((4, 5), gt_boxes=Boxes(torch.ones(2, 4)), gt_classes=torch.tensor([0, 1]))
    given.gt_names, given.gt_described = ["a", "b"], Described()
    (moved,) = ImageInput(MEAN, STD).instances_of([{"instances": given}], "instances") or []
    assert type(moved) is kind
    assert moved.image_size == (4, 5)
    assert list(moved.get_fields()) == list(given.get_fields())
    assert torch.equal(moved.gt_boxes.tensor, given.gt_boxes.tensor)
    assert moved.gt_names == ["a", "b"]
    assert moved.gt_described.device == "cpu"


def test_ground_truth_of_any_class_is_taken_where_the_number_is_unknown() -> None:
    gt = Instances((4, 4), gt_classes=torch.tensor([99]))
    model = ImageInput(MEAN, STD)
    assert len(model.ground_truth([{"instances": gt}], None)) == 1
    with pytest.raises(ValueError, match="class 99"):
        model.ground_truth([{"instances": gt}], 99)
    with pytest.raises(ValueError, match="training inputs need 'instances'"):
        model.ground_truth([{}], None)


def test_the_output_has_the_size_asked_for_or_that_of_the_image() -> None:
    assert output_size({}, (4, 5)) == (4, 5)
    assert output_size({"height": 9}, (4, 5)) == (9, 5)
    assert output_size({"height": torch.tensor(9), "width": 8.0}, (4, 5)) == (9, 8)


def test_results_come_under_a_name_in_the_size_asked_for() -> None:
    boxes = Boxes(torch.tensor([[1.0, 1, 3, 3], [-5, 0, -1, 9]]))
    found = Instances((4, 4), proposal_boxes=boxes)
    (result,) = postprocessed([found], [{"height": 8, "width": 12}], [(4, 4)], "proposals")
    assert result["proposals"].image_size == (8, 12)
    assert result["proposals"].proposal_boxes.tensor.tolist() == [[3, 2, 9, 6]]


def test_tensors_of_detections_are_clipped_to_their_own_image() -> None:
    boxes = torch.tensor([[-1.0, -1, 50, 50], [-1, -1, 50, 50]])
    found = Detections(boxes, torch.ones(2), torch.zeros(2), torch.tensor([0, 1]), torch.arange(2))
    outputs = clipped_outputs(found, torch.tensor([[10, 20], [30, 40]]))
    assert outputs["boxes"].tolist() == [[0, 0, 20, 10], [0, 0, 40, 30]]
    assert set(outputs) == {"boxes", "scores", "classes", "batch_index"}


# What an image may be


def test_images_of_any_type_are_normalised_in_single_precision_and_left_alone() -> None:
    model = ImageInput(MEAN, STD)
    image = noise(4, 5)
    (wanted,) = model.normalized_images([{"image": image}])
    assert wanted.dtype == torch.float32
    for dtype in (torch.int32, torch.int64, torch.float16, torch.float32, torch.bfloat16):
        given_image = image.to(dtype)
        before = given_image.clone()
        (got,) = model.normalized_images([{"image": given_image}])
        assert got.dtype == torch.float32
        torch.testing.assert_close(got, wanted)
        assert torch.equal(given_image, before)
    (double,) = model.normalized_images([{"image": image.double()}])
    torch.testing.assert_close(double.float(), wanted)


def test_an_image_may_be_a_view_and_large_values_do_not_wrap() -> None:
    model = ImageInput(MEAN, STD)
    turned = noise(4, 5).permute(1, 2, 0).contiguous().permute(2, 0, 1)
    assert not turned.is_contiguous()
    (got,) = model.normalized_images([{"image": turned}])
    assert torch.equal(got, model.normalized_images([{"image": turned.contiguous()}])[0])
    (dark,) = model.normalized_images([{"image": torch.zeros(3, 1, 1, dtype=torch.uint8)}])
    assert dark.flatten().tolist() == [-5.0, -5.0, -6.0]


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (None, r"input 1 wants a tensor image of shape \(3, H, W\), got NoneType"),
        (torch.zeros(4, 5), r"got \(4, 5\)"),
        (torch.zeros(4, 5, 3), r"got \(4, 5, 3\)"),
        (torch.zeros(1, 3, 4, 5), r"got \(1, 3, 4, 5\)"),
        (torch.zeros(3, 0, 5), r"input 1 has an image without pixels, of shape \(3, 0, 5\)"),
        (torch.zeros(3, 4, 5, dtype=torch.bool), r"image of real numbers, got torch\.bool"),
        (torch.zeros(3, 4, 5, dtype=torch.cfloat), r"image of real numbers, got torch\.complex64"),
    ],
)
def test_an_image_that_cannot_be_is_named_with_its_place(image: Any, message: str) -> None:
    model = ImageInput(MEAN, STD)
    good = {"image": noise(4, 5)}
    bad = {} if image is None else {"image": image}
    with pytest.raises(ValueError, match=message):
        model.batch_images([good, bad], Padding())


def test_a_picture_for_a_graph_that_resizes_has_to_be_as_it_was_read() -> None:
    image = noise(4, 5)
    assert picture_of({"image": image}, 0, 3) is image
    with pytest.raises(ValueError, match=r"input 2 wants an image of uint8, .*got torch\.float32"):
        picture_of({"image": image.float()}, 2, 3)
    with pytest.raises(ValueError, match=r"input 2 wants a tensor image of shape \(1, H, W\)"):
        picture_of({"image": image}, 2, 1)


def test_a_batch_of_nothing_is_refused_wherever_it_arrives() -> None:
    model = ImageInput(MEAN, STD)
    for ask in (
        lambda: model.batch_images([], Padding()),
        lambda: model.normalized_images([]),
        lambda: model.ground_truth([], 3),
    ):
        with pytest.raises(ValueError, match="batch is empty: a model wants at least one image"):
            ask()


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.tuples(st.integers(1, 12), st.integers(1, 12)), min_size=1, max_size=3),
    st.sampled_from([0, 1, 4, 7]),
    st.sampled_from([0, 5, 16]),
)
def test_a_padded_batch_gets_the_size_that_images_get(
    sizes: list[tuple[int, int]], divisor: int, square: int
) -> None:
    model, backbone = ImageInput([1.0], [2.0]), Padding(divisor, square)
    images = [torch.full((1, *size), 3.0) for size in sizes]
    wanted = model.batch_images([{"image": image} for image in images], backbone)
    height, width = (max(side) for side in zip(*sizes, strict=True))
    padded = torch.full((len(sizes), 1, height, width), 3.0)
    got = model.normalized_tensor(padded, torch.tensor(sizes), backbone)
    assert got.shape == wanted.tensor.shape
    assert torch.equal(got, wanted.tensor)
    for row, size in zip(got, sizes, strict=True):
        assert row.sum() == size[0] * size[1]  # ones inside, zeros elsewhere


def test_labels_of_any_whole_type_are_batched_with_their_images() -> None:
    model, backbone = ImageInput(MEAN, STD), Padding(4)
    labels = [torch.full((3, 5), 7, dtype=torch.int32), torch.full((6, 2), 8, dtype=torch.uint8)]
    inputs = [{"image": noise(*one.shape), "sem_seg": one} for one in labels]
    images = model.batch_images(inputs, backbone)
    batch = model.batch_sem_seg(inputs, images, backbone, 255)
    assert batch.shape == images.tensor.shape[:1] + images.tensor.shape[2:] == (2, 8, 8)
    for row, one in zip(batch, labels, strict=True):
        inside = row[: one.shape[0], : one.shape[1]]
        assert torch.equal(inside, one.long())
        assert int((row == 255).sum()) == 64 - one.numel()


def test_the_first_image_with_wrong_labels_is_named() -> None:
    model = ImageInput(MEAN, STD)
    inputs = [{"image": noise(2, 3), "sem_seg": torch.zeros(2, 3)}, {"image": noise(2, 3)}]
    images = model.batch_images(inputs, Padding())
    with pytest.raises(ValueError, match=r"input 1 wants .* size \(2, 3\), got NoneType"):
        model.batch_sem_seg(inputs, images, Padding(), 255)


def test_classes_are_looked_at_before_anything_is_moved() -> None:
    class Immovable(Instances):
        def to(self, *args: Any, **kwargs: Any) -> Instances:
            raise AssertionError("moved")

    gt = Immovable((4, 4), gt_classes=torch.tensor([2]))
    model = ImageInput(MEAN, STD)
    with pytest.raises(ValueError, match="class 2"):
        model.ground_truth([{"instances": gt}], 2)
    with pytest.raises(AssertionError, match="moved"):
        model.ground_truth([{"instances": gt}], 3)


def test_instances_keep_their_order_and_their_fields() -> None:
    model = ImageInput(MEAN, STD)
    given_instances = [Instances((4, k), gt_classes=torch.tensor([k])) for k in (1, 2, 3)]
    found = model.ground_truth([{"instances": one} for one in given_instances], 4)
    assert [one.gt_classes.tolist() for one in found] == [[1], [2], [3]]
    assert [one.image_size for one in found] == [(4, 1), (4, 2), (4, 3)]


def test_results_of_several_images_have_sizes_of_their_own() -> None:
    def found(size: tuple[int, int]) -> Instances:
        return Instances(size, pred_boxes=Boxes(torch.tensor([[0.0, 0, size[1], size[0]]])))

    sizes = [(4, 6), (10, 5)]
    results = postprocessed([found(s) for s in sizes], [{}, {"height": 20, "width": 20}], sizes)
    boxes = [one["instances"].pred_boxes.tensor.tolist() for one in results]
    assert boxes == [[[0, 0, 6, 4]], [[0, 0, 20, 20]]]
    assert [one["instances"].image_size for one in results] == [(4, 6), (20, 20)]
