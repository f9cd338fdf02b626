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
    with pytest.raises(ValueError, match=r"'bbox': number 0, a Recorder, and number 1, a Rec"):
        together.evaluate()


def test_a_mapping_names_its_evaluators():
    together = DatasetEvaluators({"fast": Recorder({"bbox": 1}), "sure": Recorder({"segm": 2})})
    assert together.evaluate() == {"bbox": 1, "segm": 2}
    twice = DatasetEvaluators({"fast": Recorder({"bbox": 1}), "sure": Recorder({"bbox": 2})})
    with pytest.raises(ValueError, match="'fast', a Recorder, and 'sure', a Recorder"):
        twice.evaluate()


def test_lists_and_mappings_nest():
    recorders = [Recorder({name: 1}) for name in "abc"]
    together = DatasetEvaluators([recorders[0], {"two": recorders[1], "three": [recorders[2]]}])
    together.reset()
    assert together.evaluate() == {"a": 1, "b": 1, "c": 1}
    assert [recorder.calls for recorder in recorders] == [["reset"]] * 3


@pytest.mark.parametrize("value", ["COCOEvaluator", None, 3, Recorder])
def test_what_is_no_evaluator_is_named(value):
    with pytest.raises(TypeError, match=r"evaluator 'first' is a .*wanted a DatasetEvaluator"):
        DatasetEvaluators({"first": value})


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
