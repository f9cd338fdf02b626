"""Options of a run that yacs-style and lazy configs have alike."""

from typing import Any

import attrs
from attrs import validators

PRECISIONS = ("auto", "fp16", "bf16")
SHARDINGS = ("none", "fsdp")


@attrs.frozen(kw_only=True)
class RunOptions:
    """What a run may do beyond the documented settings; each is off by default.

    A lazy config has them in ``train``, in lower case (``train.ema_decay``), a yacs-style config
    in ``RUN``, in upper case (``RUN.EMA_DECAY``).
    """

    amp_precision: str = attrs.field(
        default="auto",
        validator=validators.in_(PRECISIONS),
        metadata={"help": "of mixed precision: fp16, bf16, or auto (fp16 on CUDA, else bf16)"},
    )
    accumulate: int = attrs.field(
        default=1,
        validator=validators.ge(1),
        metadata={"help": "batches whose gradients make one update"},
    )
    ema_decay: float = attrs.field(
        default=0.0,
        converter=float,
        validator=[validators.ge(0), validators.lt(1)],
        metadata={"help": "keep, evaluate and save averaged weights, e.g. 0.999; 0 does not"},
    )
    compile: bool = attrs.field(
        default=False,
        validator=validators.instance_of(bool),
        metadata={"help": "compile the backbone with torch.compile"},
    )
    channels_last: bool = attrs.field(
        default=False,
        validator=validators.instance_of(bool),
        metadata={"help": "the memory format in which convolutions are often fastest"},
    )
    activation_checkpointing: bool = attrs.field(
        default=False,
        validator=validators.instance_of(bool),
        metadata={"help": "compute the backbone twice to save its memory"},
    )
    sharding: str = attrs.field(
        default="none",
        validator=validators.in_(SHARDINGS),
        metadata={"help": "fsdp: each process keeps a share of weights and optimizer; or none"},
    )
    layer_decay: float = attrs.field(
        default=1.0,
        converter=float,
        validator=[validators.gt(0), validators.le(1)],
        metadata={"help": "factor on the learning rate for each layer towards the input"},
    )
    reduced_decoding: bool = attrs.field(
        default=False,
        validator=validators.instance_of(bool),
        metadata={"help": "decode JPEG that is shrunk at a smaller size: quicker, less exact"},
    )


def option_defaults() -> dict[str, Any]:
    """Return the options with their default values."""
    return attrs.asdict(RunOptions())


def read_options(values: Any, name: str) -> RunOptions:
    """Make options from what a config has.

    Args:
        values: a mapping with some of the options.
        name: what the config calls an option, with ``{}`` for the option, for errors.

    Raises:
        ValueError, TypeError: for a value out of range; names the option.
    """
    given = {}
    for field in attrs.fields(RunOptions):
        if field.name not in values:
            continue
        given[field.name] = values[field.name]
        try:
            RunOptions(**{field.name: given[field.name]})
        except (ValueError, TypeError) as error:
            option = name.format(field.name)
            raise ValueError(
                f"{option}={given[field.name]!r} is not allowed: {field.metadata['help']} "
                f"(default: {field.default!r})"
            ) from error
    return RunOptions(**given)
