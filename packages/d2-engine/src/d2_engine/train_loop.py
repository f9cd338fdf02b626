"""The training loop and what can be hung into it."""

import logging
import weakref
from collections.abc import Sequence
from typing import Any

from d2_data import naming_lost_workers
from d2_modeling.events import EventStorage

logger = logging.getLogger(__name__)


class HookBase:
    """Something that happens around the steps of a trainer.

    The trainer calls the methods in this order::

        hook.before_train()
        hook.complete_step()        # only if training is resumed
        for iter in range(start_iter, max_iter):
            hook.before_step()
            trainer.run_step()      # calls hook.after_backward() between gradient and update
            hook.after_step()
        hook.after_train()

    ``before_step`` should take negligible time; work belongs in ``after_step``, so that hooks
    which look at the difference (a timer) measure the step itself.
    """

    trainer: "TrainerBase" = None  # type: ignore[assignment]  # set by register_hooks
    """The trainer (a weak proxy), set when the hook is registered."""

    def before_train(self) -> None:
        """Called before the first iteration."""

    def after_train(self) -> None:
        """Called after the last iteration, and also when training stops on an error."""

    def complete_step(self) -> None:
        """Called where training is resumed, in the last iteration of the checkpoint.

        Whatever ended the run may have done so after the checkpoint was saved and before this
        hook's ``after_step``: do what is to be done in that iteration and is not.
        """

    def before_step(self) -> None:
        """Called before each iteration."""

    def after_backward(self) -> None:
        """Called after the backward pass of each iteration, before the update."""

    def after_step(self) -> None:
        """Called after each iteration."""

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint must keep of this hook; nothing by default."""
        return {}


class TrainerBase:
    """A loop with hooks. Subclasses say what one step is.

    Attributes:
        iter: the current iteration; ``max_iter`` once training has completed.
        start_iter: where :meth:`train` began; before that, where to begin: 0, or behind the last
            iteration of a loaded state.
        max_iter: where training ends (exclusive).
        storage: the EventStorage that is open while training.
    """

    def __init__(self) -> None:
        self._hooks: list[HookBase] = []
        self.iter = 0
        self.start_iter = 0
        self.max_iter = 0
        self.storage: EventStorage
        self._waiting_states: dict[str, Any] = {}
        self._loaded_iter: int | None = None
        self._loaded_events: dict[str, Any] | None = None

    def register_hooks(self, hooks: Sequence[HookBase | None]) -> None:
        """Add hooks; they run in the order of registration. None is skipped.

        One whose state was loaded before it was registered gets it now.
        """
        added = [hook for hook in hooks if hook is not None]
        for hook in added:
            if not isinstance(hook, HookBase):
                raise TypeError(f"a hook is an instance of HookBase, got {type(hook)}")
            # A proxy, so that trainer and hooks do not keep each other alive.
            hook.trainer = weakref.proxy(self)
        self._hooks.extend(added)
        self._hand_over_states()

    def train(self, start_iter: int, max_iter: int) -> None:
        """Run iterations ``start_iter`` (inclusive) to ``max_iter`` (exclusive).

        Behind the iteration of a loaded state it goes on with the scalars of that state, and what
        the hooks had to do in that iteration is completed. ``after_train`` of the hooks runs even
        if a step raises.
        """
        logger.info("Training from iteration %d to %d", start_iter, max_iter)
        self.iter = self.start_iter = start_iter
        self.max_iter = max_iter
        is_resumed = self._loaded_iter == start_iter - 1
        with naming_lost_workers(), EventStorage(start_iter) as self.storage:
            if is_resumed and self._loaded_events is not None:
                self.storage.load_state_dict(self._loaded_events)
            self._loaded_iter = self._loaded_events = None
            try:
                self.before_train()
                if is_resumed:
                    self.complete_step()
                for iteration in range(start_iter, max_iter):
                    self.iter = iteration
                    self.before_step()
                    self.run_step()
                    self.after_step()
            except BaseException:
                self._after_failure()
                raise
            # Lets hooks tell a completed run from an interrupted one.
            self.iter = max(start_iter, max_iter)
            self.after_train()

    def _after_failure(self) -> None:
        """Run ``after_train``; what is raised there is not to hide what ended training."""
        try:
            self.after_train()
        except Exception as error:
            logger.error("After that, %s: %s", type(error).__name__, error)

    def before_train(self) -> None:
        """Run the hooks' ``before_train``; report loaded states that no hook took."""
        for name in self._waiting_states:
            logger.warning("The checkpoint holds the state of hook %s, which is unused", name)
        self._waiting_states.clear()
        for hook in self._hooks:
            hook.before_train()

    def after_train(self) -> None:
        """Run the hooks' ``after_train``."""
        self.storage.iter = self.iter
        for hook in self._hooks:
            hook.after_train()

    def complete_step(self) -> None:
        """Run the hooks' ``complete_step``, in the iteration before the first."""
        self.iter = self.storage.iter = self.start_iter - 1
        for hook in self._hooks:
            hook.complete_step()

    def before_step(self) -> None:
        """Run the hooks' ``before_step``."""
        # Whatever is stored from here on belongs to this iteration.
        self.storage.iter = self.iter
        for hook in self._hooks:
            hook.before_step()

    def after_backward(self) -> None:
        """Run the hooks' ``after_backward``; :meth:`run_step` calls it where it applies."""
        for hook in self._hooks:
            hook.after_backward()

    def after_step(self) -> None:
        """Run the hooks' ``after_step``."""
        for hook in self._hooks:
            hook.after_step()

    def run_step(self) -> None:
        """Do one iteration; to be overridden."""
        raise NotImplementedError(f"{type(self).__name__} must implement run_step()")

    def state_dict(self) -> dict[str, Any]:
        """Return the last iteration that was done, its scalars, and the states of the hooks."""
        # Once training has completed, `iter` is the number of iterations.
        completed = self.max_iter > 0 and self.iter >= self.max_iter
        state: dict[str, Any] = {"iteration": self.iter - completed}
        hooks_state = {}
        for name, hook in _named_hooks(self._hooks):
            hook_state = hook.state_dict()
            if hook_state:
                hooks_state[name] = hook_state
        if hooks_state:
            state["hooks"] = hooks_state
        if hasattr(self, "storage"):
            state["events"] = self.storage.state_dict()
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned.

        The stored iteration was completed: training is to begin at :attr:`start_iter`, the one
        behind it. States of hooks that are not registered yet are kept for them until training
        begins; what nobody took by then is reported.
        """
        self.iter = state_dict["iteration"]
        self.start_iter = self.iter + 1
        self._loaded_iter = self.iter
        self._loaded_events = state_dict.get("events")
        self._waiting_states = dict(state_dict.get("hooks", {}))
        self._hand_over_states()

    def _hand_over_states(self) -> None:
        if not self._waiting_states:
            return
        for name, hook in _named_hooks(self._hooks):
            load = getattr(hook, "load_state_dict", None)
            if load is not None and name in self._waiting_states:
                load(self._waiting_states.pop(name))


def _named_hooks(hooks: Sequence[HookBase]) -> list[tuple[str, HookBase]]:
    """Name each hook by its class, with a count behind repeated ones."""
    counts: dict[str, int] = {}
    named = []
    for hook in hooks:
        name = type(hook).__qualname__
        counts[name] = counts.get(name, 0) + 1
        named.append((name if counts[name] == 1 else f"{name}#{counts[name]}", hook))
    return named
