"""The order of things in the training loop."""

import gc
import weakref

import pytest

from d2_engine import HookBase, TrainerBase
from d2_engine.events import get_event_storage


class Counter(TrainerBase):
    def __init__(self, fail_at: int | None = None) -> None:
        super().__init__()
        self.log: list[str] = []
        self.fail_at = fail_at

    def run_step(self) -> None:
        if self.iter == self.fail_at:
            raise RuntimeError("boom")
        self.log.append(f"step {self.iter}")
        self.after_backward()


class Recorder(HookBase):
    def __init__(self, name: str) -> None:
        self.name = name

    def _note(self, event: str) -> None:
        self.trainer.log.append(f"{self.name}.{event} {self.trainer.iter}")

    def before_train(self):
        self._note("before_train")

    def before_step(self):
        self._note("before_step")

    def after_backward(self):
        self._note("after_backward")

    def after_step(self):
        self._note("after_step")

    def after_train(self):
        self._note("after_train")


class Stateful(HookBase):
    value = 0

    def state_dict(self):
        return {"value": self.value}

    def load_state_dict(self, state):
        self.value = state["value"]


def test_hooks_run_in_order_around_each_step():
    trainer = Counter()
    trainer.register_hooks([Recorder("a"), None, Recorder("b")])
    trainer.train(3, 5)
    around_step = [
        [
            f"a.before_step {i}",
            f"b.before_step {i}",
            f"step {i}",
            f"a.after_backward {i}",
            f"b.after_backward {i}",
            f"a.after_step {i}",
            f"b.after_step {i}",
        ]
        for i in (3, 4)
    ]
    assert trainer.log == [
        "a.before_train 3",
        "b.before_train 3",
        *around_step[0],
        *around_step[1],
        "a.after_train 5",
        "b.after_train 5",
    ]


def test_after_train_runs_when_a_step_fails_and_sees_the_failed_iteration():
    trainer = Counter(fail_at=1)
    trainer.register_hooks([Recorder("a")])
    with pytest.raises(RuntimeError, match="boom"):
        trainer.train(0, 3)
    assert trainer.log[-1] == "a.after_train 1"


def test_the_storage_follows_the_iteration_and_is_open_only_while_training():
    trainer = Counter()
    seen = []

    class Look(HookBase):
        def after_step(self):
            seen.append((get_event_storage().iter, self.trainer.storage is get_event_storage()))

    trainer.register_hooks([Look()])
    trainer.train(0, 2)
    assert seen == [(0, True), (1, True)]
    with pytest.raises(AssertionError):
        get_event_storage()


def test_hooks_do_not_keep_their_trainer_alive():
    trainer, hook = Counter(), Recorder("a")
    trainer.register_hooks([hook])
    reference = weakref.ref(trainer)
    del trainer
    gc.collect()
    assert reference() is None


def test_states_of_hooks_are_kept_by_class_and_count():
    trainer = Counter()
    hooks = [Stateful(), Stateful(), Recorder("a")]
    hooks[0].value, hooks[1].value = 1, 2
    trainer.register_hooks(hooks)
    trainer.iter = 7
    state = trainer.state_dict()
    assert state == {
        "iteration": 7,
        "hooks": {"Stateful": {"value": 1}, "Stateful#2": {"value": 2}},
    }


@pytest.mark.parametrize("loaded_first", [False, True])
def test_hooks_get_their_state_whether_it_is_loaded_before_or_after_they_are_registered(
    loaded_first, caplog
):
    state = {"iteration": 7, "hooks": {"Stateful": {"value": 1}, "Stateful#2": {"value": 2}}}
    trainer, hooks = Counter(), [Stateful(), Stateful()]
    if loaded_first:
        trainer.load_state_dict(state)
    for hook in hooks:
        trainer.register_hooks([hook])
    if not loaded_first:
        trainer.load_state_dict(state)
    assert (trainer.iter, trainer.start_iter) == (7, 8)
    assert [hook.value for hook in hooks] == [1, 2]
    trainer.train(trainer.start_iter, 9)
    assert "unused" not in caplog.text


def test_a_state_is_handed_over_once():
    trainer, hook = Counter(), Stateful()
    trainer.load_state_dict({"iteration": 1, "hooks": {"Stateful": {"value": 5}}})
    trainer.register_hooks([hook])
    hook.value = 6
    trainer.register_hooks([Recorder("a")])
    assert hook.value == 6


def test_a_state_that_no_hook_takes_is_reported_when_training_begins(caplog):
    trainer = Counter()
    trainer.register_hooks([Recorder("a")])
    trainer.load_state_dict({"iteration": 1, "hooks": {"Gone": {"x": 1}, "Recorder": {"y": 2}}})
    assert caplog.text == ""
    trainer.train(2, 3)
    assert "hook Gone, which is unused" in caplog.text
    assert "hook Recorder, which is unused" in caplog.text


@pytest.mark.parametrize(("start", "end"), [(0, 3), (3, 3), (3, 2)])
def test_the_state_of_a_completed_training_continues_behind_it(start, end):
    trainer, other = Counter(), Counter()
    trainer.train(start, end)
    other.load_state_dict(trainer.state_dict())
    assert other.start_iter == 3


def test_only_hooks_can_be_registered():
    with pytest.raises(TypeError, match="HookBase"):
        Counter().register_hooks([print])


def test_a_trainer_without_a_step_says_so():
    with pytest.raises(NotImplementedError, match="run_step"):
        TrainerBase().train(0, 1)
