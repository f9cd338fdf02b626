"""What evaluators share that keep predictions until the end."""

import logging

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from d2_eval.collecting import CollectingEvaluator, one_per_image


def evaluate_in_process(rank, folder, distributed):
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2
    )
    evaluator = CollectingEvaluator(distributed=distributed)
    evaluator.reset()
    for number in range(rank + 2):
        evaluator.keep({"image_id": 10 * rank + number})
    first = evaluator.collected()
    total = evaluator.summed(np.array([rank + 1, 10]))
    torch.save([first, evaluator.collected(), total.tolist()], f"{folder}/{rank}.pth")
    dist.destroy_process_group()


@pytest.mark.parametrize(
    ("distributed", "expected"),
    [(True, [[0, 1, 10, 11, 12], None]), (False, [[0, 1], [10, 11, 12]])],
)
def test_the_main_rank_gets_what_all_have_kept_as_often_as_asked(distributed, expected, tmp_path):
    mp.spawn(evaluate_in_process, (str(tmp_path), distributed), nprocs=2)
    for rank in range(2):
        first, again, total = torch.load(tmp_path / f"{rank}.pth", weights_only=True)
        if first is not None:
            assert total == ([3, 20] if distributed else [rank + 1, 10])
        assert first == again
        assert (first and [p["image_id"] for p in first]) == expected[rank]


def test_nothing_is_kept_or_collected_before_the_first_reset():
    evaluator = CollectingEvaluator()
    with pytest.raises(RuntimeError, match=r"call reset\(\) before process"):
        evaluator.keep({})
    with pytest.raises(RuntimeError, match=r"call reset\(\) and process\(\) before evaluate"):
        evaluator.collected()


def test_a_reset_forgets():
    evaluator = CollectingEvaluator()
    evaluator.reset()
    evaluator.keep({"image_id": 1})
    evaluator.reset()
    assert evaluator.collected() == []


def test_the_first_prediction_of_an_image_counts_and_the_log_says_so(caplog):
    predictions = [{"image_id": 1, "n": 0}, {"image_id": 2, "n": 1}, {"image_id": 1, "n": 2}]
    with caplog.at_level(logging.WARNING, "d2_eval.collecting"):
        assert one_per_image(predictions) == predictions[:2]
    assert "1 predictions belong to images that were processed before" in caplog.text
