"""Methods that projects overwrite, and the attributes they use, of trainers, hooks and writers."""

import logging
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from d2_config import CfgNode, get_cfg
from d2_engine import HookBase, SimpleTrainer
from d2_engine.checkpoint import DetectionCheckpointer
from d2_engine.defaults import DefaultTrainer
from d2_engine.events import CommonMetricPrinter, EventStorage, EventWriter
from d2_engine.hooks import EvalHook, LRScheduler
from d2_engine.train_loop import TrainerBase
from d2_eval import DatasetEvaluator


class TwoWeights(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))

    def forward(self, batch: Any) -> Any:
        if not self.training:
            return batch
        return {"loss_a": (self.weight * batch).square().sum(), "loss_b": self.weight.sum()}


def batches(count: int = 50) -> list[torch.Tensor]:
    return [torch.full((2,), 1.0 + step) for step in range(count)]


def trainer_of(kind: type[SimpleTrainer] = SimpleTrainer, **options: Any) -> SimpleTrainer:
    model = TwoWeights()
    return kind(model, batches(), torch.optim.SGD(model.parameters(), lr=1e-4), **options)


def test_a_trainer_calls_its_own_write_metrics_with_tensors() -> None:
    written: list[tuple[dict[str, float], float]] = []

    class Mine(SimpleTrainer):
        def _write_metrics(self, loss_dict: Any, data_time: float, prefix: str = "") -> None:
            numbers = {name: loss.detach().cpu().item() for name, loss in loss_dict.items()}
            written.append((numbers, data_time))
            super()._write_metrics(loss_dict, data_time, prefix="mine/")

    trainer = trainer_of(Mine)
    trainer.train(0, 2)
    assert [numbers["loss_a"] for numbers, _ in written] == pytest.approx([2.0, 8.0], rel=1e-2)
    assert "mine/loss_a" in trainer.storage.latest()
    assert "mine/total_loss" in trainer.storage.latest()


def test_a_step_of_ones_own_takes_batches_and_writes_metrics() -> None:
    class Mine(SimpleTrainer):
        def run_step(self) -> None:
            data = next(self._data_loader_iter)
            losses = self.model(data)
            self.optimizer.zero_grad()
            sum(losses.values()).backward()
            self._write_metrics(losses, 0.25)
            self.optimizer.step()

    trainer = trainer_of(Mine)
    trainer.train(0, 3)
    assert trainer.batches_consumed == 3
    assert trainer.storage.latest()["data_time"] == (0.25, 2)
    assert trainer.storage.latest()["loss_b"][0] < 2


def test_metrics_can_be_written_without_a_trainer() -> None:
    with EventStorage(7) as storage:
        SimpleTrainer.write_metrics({"a": torch.tensor(1.0), "b": torch.tensor(2.0)}, 0.5, 7, "x/")
        assert storage.latest()["x/total_loss"] == (3.0, 7)
        with pytest.raises(FloatingPointError, match="iteration 7"):
            SimpleTrainer.write_metrics({"a": torch.tensor(torch.inf)}, 0.5, 7)


def test_a_trainer_goes_on_with_other_data() -> None:
    trainer = trainer_of()
    trainer.train(0, 3)
    trainer.reset_data_loader(lambda: [torch.full((2,), 100.0)] * 4)
    trainer.train(3, 5)
    assert trainer.batches_consumed == 5
    assert trainer.storage.latest()["loss_a"][0] > 1000


def test_a_stream_of_ones_own_is_taken_from() -> None:
    trainer = trainer_of()
    trainer._data_loader_iter = iter([torch.zeros(2)] * 2)
    trainer.train(0, 2)
    assert trainer.storage.latest()["loss_a"][0] == 0
    assert trainer.batches_consumed == 2


def test_an_evaluation_hook_calls_its_own_evaluation() -> None:
    class Twice(EvalHook):
        def _do_eval(self) -> None:
            super()._do_eval()
            calls.append((self._period, self._func is not None))

    calls: list[tuple[int, bool]] = []
    trainer = trainer_of()
    trainer.register_hooks([Twice(2, lambda: {"AP": 1.0})])
    trainer.train(0, 5)
    assert calls == [(2, True)] * 3
    assert trainer.storage.latest()["AP"][0] == 1.0


def test_the_group_whose_rate_is_shown_can_be_asked_for() -> None:
    weights = [nn.Parameter(torch.zeros(1)) for _ in range(4)]
    groups = [{"params": weights[:1], "lr": 1.0}, {"params": weights[1:], "lr": 2.0}]
    optimizer = torch.optim.SGD(groups, lr=0.1)
    assert LRScheduler.get_best_param_group_id(optimizer) == 1


def test_a_printer_of_ones_own_uses_what_it_inherits(caplog: pytest.LogCaptureFixture) -> None:
    class Printer(CommonMetricPrinter):
        def __init__(self, max_iter: int) -> None:
            super().__init__(max_iter, window_size=5)

        def write(self) -> None:
            super().write()
            seen.append((self._max_iter, self._window_size))
            self.logger.info("that was it")

    seen: list[tuple[int | None, int]] = []
    printer = Printer(10)
    with caplog.at_level(logging.INFO), EventStorage(3) as storage:
        storage.put_scalars(time=0.5, total_loss=1.0)
        printer.write()
        assert printer._get_eta(storage) == "0:00:03"
    assert seen == [(10, 5)]
    assert "that was it" in caplog.text


class Counting(DatasetEvaluator):
    def reset(self) -> None:
        self.count = 0

    def process(self, inputs: Any, outputs: Any) -> None:
        self.count += 1

    def evaluate(self) -> dict[str, Any]:
        return {"seen": {"count": self.count}}


class Noted(HookBase):
    pass


class Parts(DefaultTrainer):
    """Every part overwritten; the class notes which were asked for."""

    asked: list[str]

    @classmethod
    def build_model(cls, cfg: CfgNode) -> nn.Module:
        cls.asked.append("build_model")
        return TwoWeights()

    @classmethod
    def build_train_loader(cls, cfg: CfgNode) -> Any:
        cls.asked.append("build_train_loader")
        return batches()

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> Any:
        cls.asked.append("build_test_loader")
        return batches(3)

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str) -> Any:
        cls.asked.append("build_evaluator")
        return Counting()

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: nn.Module) -> Any:
        cls.asked.append("build_optimizer")
        return torch.optim.AdamW(model.parameters(), lr=cfg.SOLVER.BASE_LR)

    @classmethod
    def build_lr_scheduler(cls, cfg: CfgNode, optimizer: Any) -> Any:
        cls.asked.append("build_lr_scheduler")
        return torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)

    def build_hooks(self) -> list[HookBase | None]:
        self.asked.append("build_hooks")
        hooks = super().build_hooks()
        hooks.insert(-1, Noted())
        return hooks

    def build_writers(self) -> list[EventWriter]:
        self.asked.append("build_writers")
        return []

    @classmethod
    def test(cls, cfg: CfgNode, model: nn.Module, evaluators: Any = None) -> Any:
        cls.asked.append("test")
        return super().test(cfg, model, evaluators)

    def run_step(self) -> None:
        self.asked.append("run_step")
        super().run_step()


class WithConstructor(Parts):
    """As projects write it that go past the constructor of DefaultTrainer."""

    def __init__(self, cfg: CfgNode) -> None:
        super(DefaultTrainer, self).__init__()
        cfg = DefaultTrainer.auto_scale_workers(cfg, 1)
        model = self.build_model(cfg)
        optimizer = self.build_optimizer(cfg, model)
        self._trainer = SimpleTrainer(model, self.build_train_loader(cfg), optimizer)
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        self.checkpointer = DetectionCheckpointer(
            model, cfg.OUTPUT_DIR, trainer=weakref.proxy(self)
        )
        self.start_iter = 0
        self.max_iter = cfg.SOLVER.MAX_ITER
        self.cfg = cfg
        self.register_hooks(self.build_hooks())


@pytest.fixture
def cfg(tmp_path: Path) -> CfgNode:
    cfg = get_cfg()
    cfg.MODEL.DEVICE = "cpu"
    cfg.OUTPUT_DIR = str(tmp_path)
    cfg.SOLVER.MAX_ITER = 4
    cfg.SOLVER.STEPS = ()
    cfg.SOLVER.BASE_LR = 0.25
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (), ("anything",)
    cfg.TEST.EVAL_PERIOD = 2
    cfg.SEED = 1
    return cfg


@pytest.mark.parametrize("kind", [Parts, WithConstructor])
def test_every_part_of_a_default_trainer_can_be_overwritten(
    kind: type[Parts], cfg: CfgNode
) -> None:
    kind.asked = []
    trainer = kind(cfg)
    trainer.resume_or_load(resume=False)
    results = trainer.train()
    assert results == {"seen": {"count": 3}}
    assert set(kind.asked) == {
        *("build_model", "build_train_loader", "build_test_loader", "build_evaluator"),
        *("build_optimizer", "build_lr_scheduler", "build_hooks", "build_writers"),
        *("test", "run_step"),
    }
    assert kind.asked.count("run_step") == 4
    assert kind.asked.count("test") == 2
    assert isinstance(trainer.optimizer, torch.optim.AdamW)
    assert trainer.storage.latest()["lr"][0] == pytest.approx(0.25 * 0.5**3)
    assert any(isinstance(hook, Noted) for hook in trainer._hooks)
    assert (trainer.iter, trainer.start_iter, trainer.max_iter) == (4, 0, 4)
    assert isinstance(trainer._trainer, SimpleTrainer)
    assert trainer._last_eval_results == results
    assert trainer.checkpointer.has_checkpoint()


def test_the_model_of_a_default_trainer_can_be_exchanged(cfg: CfgNode) -> None:
    Parts.asked = []
    trainer = Parts(cfg)
    other = TwoWeights()
    trainer.model = other
    assert trainer._trainer.model is trainer.model is other


def test_a_loop_of_ones_own_has_the_state_and_the_hooks() -> None:
    class Loop(TrainerBase):
        def run_step(self) -> None:
            steps.append((self.iter, self.storage.iter))

        def state_dict(self) -> dict[str, Any]:
            return {**super().state_dict(), "mine": 1}

        def train(self, start_iter: int, max_iter: int) -> None:
            super().train(start_iter, max_iter)
            steps.append((self.iter, self.max_iter))

    steps: list[tuple[int, int]] = []
    loop = Loop()
    loop.train(2, 4)
    assert steps == [(2, 2), (3, 3), (4, 4)]
    assert loop.state_dict()["mine"] == 1
