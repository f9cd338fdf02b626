"""Models with rich inputs and outputs in `torch.jit.trace`."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from d2_modeling.export import TracingAdapter
from d2_structures import Boxes, Instances

pytestmark = pytest.mark.filterwarnings(r"ignore:`torch\.jit")


class Scorer(nn.Module):
    """Gives every image its brightest rows as instances."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, inputs: list[dict[str, Any]], bias: Any = 0.0) -> list[dict[str, Instances]]:
        results = []
        for entry in inputs:
            rows = entry["image"].mean(dim=(0, 2)) * self.scale + bias
            boxes = torch.stack([rows, rows, rows + 1, rows + 1], dim=1)
            size = entry["image"].shape[-2:]
            instances = Instances(size, pred_boxes=Boxes(boxes), scores=rows)
            results.append({"instances": instances})
        return results


def inputs_of(*heights: int) -> list[dict[str, Tensor]]:
    return [{"image": torch.rand(3, height, 5)} for height in heights]


def test_a_trace_gives_what_the_model_gives_for_images_of_other_sizes() -> None:
    model = Scorer().eval()
    adapter = TracingAdapter(model, inputs_of(4, 6))
    assert [*map(tuple, (t.shape for t in adapter.flattened_inputs))] == [(3, 4, 5), (3, 6, 5)]
    traced = torch.jit.trace(adapter, adapter.flattened_inputs)
    other = inputs_of(7, 3)
    assert adapter.outputs_schema is not None
    outputs = adapter.outputs_schema(traced(*(entry["image"] for entry in other)))
    for got, wanted in zip(outputs, model(other), strict=True):
        assert torch.equal(got["instances"].scores, wanted["instances"].scores)
        assert torch.equal(
            got["instances"].pred_boxes.tensor, wanted["instances"].pred_boxes.tensor
        )
        assert got["instances"].image_size == wanted["instances"].image_size


def test_inputs_are_rebuilt_by_their_schema() -> None:
    inputs = inputs_of(4)
    adapter = TracingAdapter(Scorer(), inputs)
    assert adapter.inputs_schema is not None
    ((entry,),) = adapter.inputs_schema(adapter.flattened_inputs)
    assert torch.equal(entry["image"], inputs[0]["image"])


def test_a_tuple_is_the_arguments_and_a_function_may_call_otherwise() -> None:
    model, bias = Scorer(), torch.ones(())
    inputs = (inputs_of(4), bias)
    adapter = TracingAdapter(model, inputs, lambda m, images, more: m(images, bias=more * 2))
    wanted = model(inputs[0], torch.tensor(2.0))[0]["instances"]
    assert torch.equal(adapter(*adapter.flattened_inputs)[1], wanted.scores)
    assert not adapter(*adapter.flattened_inputs)[1].requires_grad


def test_an_input_that_is_no_tensor_is_named() -> None:
    with pytest.raises(ValueError, match=r"inputs\[0\]\[0\]\['height'\] is of type int"):
        TracingAdapter(Scorer(), [{"image": torch.rand(3, 4, 5), "height": 4}])


def test_an_output_that_is_no_tensor_is_named() -> None:
    adapter = TracingAdapter(nn.Identity(), torch.ones(2), lambda model, x: {"a": x, "b": [7]})
    with pytest.raises(ValueError, match=r"outputs\['b'\]\[0\] is of type int"):
        adapter(torch.ones(2))


def test_what_is_no_tensor_stays_constant_where_that_is_allowed() -> None:
    inputs = [{"image": torch.rand(3, 4, 5), "file_name": "a.jpg", "height": 4}]
    adapter = TracingAdapter(
        Scorer(),
        inputs,
        lambda model, images: [*model(images), images[0]["file_name"]],
        allow_non_tensor=True,
    )
    assert adapter.inputs_schema is None
    traced = torch.jit.trace(adapter, adapter.flattened_inputs)
    assert adapter.outputs_schema is None
    image = torch.rand(3, 6, 5)
    assert torch.equal(traced(image)[1], Scorer()([{"image": image}])[0]["instances"].scores)


def test_outputs_of_another_structure_are_refused() -> None:
    adapter = TracingAdapter(
        nn.Identity(), torch.ones(2), lambda model, x: [x] * (1 + int(x.sum() > 2))
    )
    adapter(torch.ones(2))
    with pytest.raises(ValueError, match="the same structure for all inputs"):
        adapter(torch.ones(2) * 9)


def test_another_number_of_tensors_is_refused() -> None:
    adapter = TracingAdapter(Scorer(), inputs_of(4))
    with pytest.raises(ValueError, match="takes 1 tensors, got 2"):
        adapter(torch.rand(3, 4, 5), torch.rand(3, 4, 5))


def test_what_wraps_a_model_for_parallel_training_is_taken_off() -> None:
    model = Scorer()
    assert TracingAdapter(nn.DataParallel(model), inputs_of(4)).model is model


def test_no_gradients_are_recorded_and_none_are_left_off() -> None:
    model = Scorer()
    adapter = TracingAdapter(model, inputs_of(4))
    outputs = adapter(*adapter.flattened_inputs)
    assert all(isinstance(output, Tensor) and not output.requires_grad for output in outputs)
    assert model.scale.requires_grad
    assert torch.is_grad_enabled()


def test_the_weights_of_an_adapter_are_those_of_its_model() -> None:
    adapter = TracingAdapter(Scorer(), inputs_of(4))
    assert list(adapter.state_dict()) == ["model.scale"]
    assert not adapter.eval().model.training


def test_one_tensor_is_an_argument_and_several_are_a_tuple() -> None:
    x, y = torch.rand(2), torch.rand(2)
    assert TracingAdapter(nn.Identity(), x).inputs == (x,)
    adapter = TracingAdapter(nn.Identity(), (x, [y]), lambda _, first, others: first + others[0])
    (total,) = adapter(x, y)
    assert torch.equal(total, x + y)
    assert adapter.outputs_schema is not None
    assert torch.equal(adapter.outputs_schema((total,)), x + y)


def test_fields_of_structures_are_among_the_inputs() -> None:
    boxes = Boxes(torch.rand(3, 4))
    proposals = Instances((5, 6), proposal_boxes=boxes)
    adapter = TracingAdapter(
        nn.Identity(), [{"proposals": proposals}], lambda _, x: x[0]["proposals"].proposal_boxes
    )
    assert [tensor.tolist() for tensor in adapter.flattened_inputs][1] == [5, 6]
    (tensor,) = adapter(*adapter.flattened_inputs)
    assert torch.equal(tensor, boxes.tensor)
    assert adapter.outputs_schema is not None
    assert isinstance(adapter.outputs_schema((tensor,)), Boxes)


def test_the_first_input_that_is_no_tensor_is_named_with_the_remedy() -> None:
    for bad, path in (
        ({"a": [torch.ones(1), None]}, r"inputs\[0\]\['a'\]\[1\] is of type NoneType"),
        ((torch.ones(1), "text"), r"inputs\[1\] is of type str"),
        ([{"height": 3.5}], r"inputs\[0\]\[0\]\['height'\] is of type float"),
    ):
        with pytest.raises(ValueError, match=path + ".*allow_non_tensor=True"):
            TracingAdapter(nn.Identity(), bad)


def test_outputs_of_no_tensors_are_none_where_that_is_allowed() -> None:
    adapter = TracingAdapter(nn.Identity(), torch.ones(2), lambda _, x: 5, allow_non_tensor=True)
    assert adapter(torch.ones(2)) == ()
    assert adapter.outputs_schema is None
    assert adapter.inputs_schema is not None


def test_a_structure_that_changed_is_described_before_and_after() -> None:
    adapter = TracingAdapter(
        nn.Identity(), torch.ones(2), lambda _, x: {"a": x} if x.sum() < 3 else {"b": [x, x]}
    )
    adapter(torch.ones(2))
    with pytest.raises(ValueError, match=r"outputs\['b'\]\[0\].* after .*outputs\['a'\]"):
        adapter(torch.ones(2) * 9)
    assert [output.tolist() for output in adapter(torch.zeros(2))] == [[0, 0]]
