import logging

import pytest
import torch
from torch import nn

from d2_eval import DatasetEvaluator, inference_context, inference_on_dataset


class Double(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(2.0))
        self.modes = []

    def forward(self, batch):
        self.modes.append(self.training)
        return [value * self.weight for value in batch]


class Collect(DatasetEvaluator):
    def reset(self):
        self.pairs = []

    def process(self, inputs, outputs):
        self.pairs += list(zip(inputs, outputs, strict=True))

    def evaluate(self):
        return {"pairs": [(i, float(o)) for i, o in self.pairs]}


BATCHES = [[1.0, 2.0], [3.0]]


def test_the_evaluator_sees_every_input_with_its_output():
    results = inference_on_dataset(Double(), BATCHES, Collect())
    assert results == {"pairs": [(1.0, 2.0), (2.0, 4.0), (3.0, 6.0)]}


def test_several_evaluators_may_be_given_as_a_list():
    class Count(Collect):
        def evaluate(self):
            return {"count": len(self.pairs)}

    results = inference_on_dataset(Double(), BATCHES, [Collect(), Count()])
    assert results["count"] == 3
    assert len(results["pairs"]) == 3


def test_without_an_evaluator_the_model_runs_and_nothing_is_reported():
    model = Double()
    assert inference_on_dataset(model, BATCHES, None) == {}
    assert len(model.modes) == 2


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_evaluated_in_eval_mode_and_restored(training):
    model = Double().train(training)
    inference_on_dataset(model, BATCHES, None)
    assert model.modes == [False, False]
    assert model.training is training


def test_no_gradients_are_recorded():
    evaluator = Collect()
    inference_on_dataset(Double(), BATCHES, evaluator)
    assert not any(output.requires_grad for _, output in evaluator.pairs)


def test_the_mode_is_restored_after_an_error():
    model = Double().train()

    def fail(batch):
        raise RuntimeError("broken")

    model.forward = fail
    with pytest.raises(RuntimeError, match="broken"):
        inference_on_dataset(model, BATCHES, None)
    assert model.training


def test_the_context_alone_changes_the_mode():
    model = Double().train()
    with inference_context(model):
        assert not model.training
    assert model.training


def test_a_plain_function_is_a_model():
    results = inference_on_dataset(lambda batch: [10 * v for v in batch], BATCHES, Collect())
    assert results["pairs"][-1] == (3.0, 30.0)


def test_callbacks_are_called_in_order():
    calls = []

    def note(name):
        return lambda: calls.append(name)

    names = ["on_start", "before_inference", "after_inference", "on_end"]
    inference_on_dataset(lambda b: b, BATCHES, None, callbacks={n: note(n) for n in names})
    assert calls == [
        "on_start",
        *["before_inference", "after_inference"] * 2,
        "on_end",
    ]


def test_an_unknown_callback_is_an_error():
    with pytest.raises(ValueError, match="on_begin"):
        inference_on_dataset(lambda b: b, BATCHES, None, callbacks={"on_begin": print})


def test_a_loader_without_a_length_is_an_error():
    with pytest.raises(TypeError, match=r"length.*generator"):
        inference_on_dataset(lambda b: b, (b for b in BATCHES), None)


def test_an_empty_loader_is_evaluated():
    assert inference_on_dataset(Double(), [], Collect()) == {"pairs": []}


def test_speed_and_progress_are_logged(caplog):
    with caplog.at_level(logging.INFO, logger="d2_eval"):
        inference_on_dataset(Double(), [[1.0]] * 8, None)
    text = caplog.text
    assert "Start inference on 8 batches" in text
    assert "Inference done 6/8. Dataloading:" in text
    assert "ETA=" in text
    assert "Total inference pure compute time" in text


def test_a_bar_takes_the_place_of_the_lines_in_a_terminal(caplog, open_terminal):
    pytest.importorskip("rich", reason="the extra 'progress' is not installed")
    terminal = open_terminal()
    seen = []
    with caplog.at_level(logging.INFO, logger="d2_eval"):
        inference_on_dataset(lambda b: seen.append(terminal.screen()), [[1.0]] * 8, None)
    assert all(lines[-1].startswith("evaluate") and "/8" in lines[-1] for lines in seen)
    assert terminal.screen() == []
    for record in caplog.records:
        assert getattr(record, "file_only", False) == record.message.startswith("Inference done")


def test_the_bar_is_gone_after_an_error(open_terminal):
    terminal = open_terminal()
    with pytest.raises(ZeroDivisionError):
        inference_on_dataset(lambda b: 1 / 0, BATCHES, None)
    assert terminal.screen() == []
