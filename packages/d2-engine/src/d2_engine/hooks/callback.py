"""A hook made of functions."""

from collections.abc import Callable

from d2_engine.train_loop import HookBase, TrainerBase

Callback = Callable[[TrainerBase], None]


class CallbackHook(HookBase):
    """Call the given functions, each with the trainer as its argument."""

    def __init__(
        self,
        *,
        before_train: Callback | None = None,
        after_train: Callback | None = None,
        before_step: Callback | None = None,
        after_step: Callback | None = None,
    ) -> None:
        self._before_train = before_train
        self._after_train = after_train
        self._before_step = before_step
        self._after_step = after_step

    def before_train(self) -> None:
        """Call the function given for this moment."""
        self._call(self._before_train)

    def after_train(self) -> None:
        """Call the function given for this moment, then let go of all of them."""
        self._call(self._after_train)
        # Functions may hold the trainer, which would then never be freed.
        self._before_train = self._after_train = None
        self._before_step = self._after_step = None

    def before_step(self) -> None:
        """Call the function given for this moment."""
        self._call(self._before_step)

    def after_step(self) -> None:
        """Call the function given for this moment."""
        self._call(self._after_step)

    def _call(self, function: Callback | None) -> None:
        if function is not None:
            function(self.trainer)
