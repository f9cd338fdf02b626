import pytest

from d2_eval import DatasetEvaluator, DatasetEvaluators


class Recorder(DatasetEvaluator):
    def __init__(self, results=None):
        self.calls = []
        self.results = results

    def reset(self):
        self.calls.append("reset")

    def process(self, inputs, outputs):
        self.calls.append((inputs, outputs))

    def evaluate(self):
        return self.results


def test_every_call_goes_to_every_evaluator():
    recorders = [Recorder(), Recorder()]
    together = DatasetEvaluators(recorders)
    together.reset()
    together.process([1], [2])
    assert [r.calls for r in recorders] == [["reset", ([1], [2])]] * 2


def test_results_are_merged_in_order():
    together = DatasetEvaluators([Recorder({"bbox": 1}), Recorder(None), Recorder({"segm": 2})])
    assert list(together.evaluate().items()) == [("bbox", 1), ("segm", 2)]


def test_the_same_task_twice_is_an_error():
    together = DatasetEvaluators([Recorder({"bbox": 1}), Recorder({"bbox": 2})])
    with pytest.raises(ValueError, match=r"'bbox'.*Recorder"):
        together.evaluate()


def test_no_evaluators_give_no_results():
    assert DatasetEvaluators([]).evaluate() == {}


def test_the_base_class_reports_nothing():
    evaluator = DatasetEvaluator()
    evaluator.reset()
    evaluator.process([], [])
    assert evaluator.evaluate() is None


def test_evaluators_nest():
    inner = DatasetEvaluators([Recorder({"bbox": 1})])
    assert DatasetEvaluators([inner, Recorder({"segm": 2})]).evaluate() == {"bbox": 1, "segm": 2}
