"""Models with rich inputs and outputs for `torch.jit.trace`, which knows tuples of tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from .flatten import Schema, flatten_to_tuple

__all__ = ["TracingAdapter"]


class TracingAdapter(nn.Module):
    """A model that takes and gives flat tuples of tensors.

    ::

        adapter = TracingAdapter(model, inputs)
        traced = torch.jit.trace(adapter, adapter.flattened_inputs)
        flattened_outputs = traced(*adapter.flattened_inputs)
        outputs = adapter.outputs_schema(flattened_outputs)  # as model(inputs) gives them

    Gradients are not recorded.

    Attributes:
        flattened_inputs: the tensors of ``inputs``; a trace takes these, or others with the same
            meanings.
        inputs_schema: puts ``inputs`` together from them; None where they were not only tensors.
        outputs_schema: puts outputs together from what `forward` gave. None before its first call
            and where the outputs are not only tensors.
    """

    flattened_inputs: tuple[Tensor, ...]
    inputs_schema: Schema | None = None
    outputs_schema: Schema | None = None

    def __init__(
        self,
        model: nn.Module,
        inputs: Any,
        inference_func: Callable[..., Any] | None = None,
        allow_non_tensor: bool = False,
    ) -> None:
        """Flatten the inputs.

        Args:
            model: any module; what wraps it for parallel training is taken off.
            inputs: the argument of ``model``, or a tuple of its arguments, made of tensors and of
                what `flatten_to_tuple` takes apart.
            inference_func: called as ``inference_func(model, *inputs)``, gives the outputs. By
                default the model is called.
            allow_non_tensor: keep what is no tensor among the inputs as a constant, and leave it
                out of the outputs. There are then no schemas.

        Raises:
            ValueError: if an input is no tensor, and that is not allowed.
        """
        super().__init__()
        if isinstance(model, (DataParallel, DistributedDataParallel)):
            model = model.module
        self.model = model
        self.inputs = inputs if isinstance(inputs, tuple) else (inputs,)
        self.inference_func = inference_func or _call
        self.allow_non_tensor = allow_non_tensor
        self._input_values, self._input_structure = flatten_to_tuple(self.inputs)
        self.flattened_inputs = tuple(v for v in self._input_values if isinstance(v, Tensor))
        if len(self.flattened_inputs) == len(self._input_values):
            self.inputs_schema = self._input_structure
        elif not allow_non_tensor:
            raise ValueError(_not_a_tensor(self._input_values, self._input_structure, "inputs"))

    def forward(self, *args: Tensor) -> tuple[Tensor, ...]:
        """Call the model.

        Args:
            args: as many tensors as ``flattened_inputs``, with their meanings.

        Returns:
            The tensors of the outputs.

        Raises:
            ValueError: if the number of tensors is wrong, an output is no tensor and that is not
                allowed, or the outputs are structured otherwise than those of an earlier call.
        """
        with torch.no_grad():
            outputs = self.inference_func(self.model, *self._rebuilt_inputs(args))
        values, structure = flatten_to_tuple(outputs)
        tensors = tuple(value for value in values if isinstance(value, Tensor))
        if len(tensors) < len(values):
            if not self.allow_non_tensor:
                raise ValueError(_not_a_tensor(values, structure, "outputs"))
        elif self.outputs_schema is None:
            self.outputs_schema = structure
        elif self.outputs_schema != structure:
            raise ValueError(
                "a model that is traced has to give the same structure for all inputs, but gave "
                f"{list(structure.paths('outputs'))} after "
                f"{list(self.outputs_schema.paths('outputs'))}"
            )
        return tensors

    def _rebuilt_inputs(self, args: tuple[Tensor, ...]) -> Any:
        if len(args) != len(self.flattened_inputs):
            raise ValueError(
                f"this adapter takes {len(self.flattened_inputs)} tensors, got {len(args)}"
            )
        given = iter(args)
        return self._input_structure(
            [next(given) if isinstance(v, Tensor) else v for v in self._input_values]
        )


def _call(model: nn.Module, *inputs: Any) -> Any:
    return model(*inputs)


def _not_a_tensor(values: tuple[Any, ...], structure: Schema, name: str) -> str:
    """Say which value is no tensor."""
    found = next(
        f"{path} is of type {type(value).__name__}"
        for path, value in zip(structure.paths(name), values, strict=True)
        if not isinstance(value, Tensor)
    )
    return (
        f"a trace takes and gives tensors only, but {found}; leave it out, or pass "
        "allow_non_tensor=True to treat it as a constant"
    )
