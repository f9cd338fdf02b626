"""Models of timm as backbones."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ..weights import read_checkpoint, tensors_of
from .classifier_backbone import ClassifierBackbone, wanted_outputs

_ANY_SIZE: list[dict[str, Any]] = [{"dynamic_img_size": True}, {"strict_img_size": False}, {}]
"""Options with which transformers take images of any size, tried in this order."""


class TimmBackbone(ClassifierBackbone):
    """Any model of timm that gives feature maps as a backbone, without its classifier.

    The maps are those of timm's ``features_only``; plain transformers, such as DINOv2, have one:
    put a `SimpleFeaturePyramid` on it. Transformers that can take images of any size do. Parameters
    keep timm's names behind ``net.``. Most models were trained on RGB images: set ``pixel_mean``
    and ``pixel_std`` to 255 times the ``mean`` and ``std`` of the model's ``pretrained_cfg``.

    Args:
        model: name, as ``timm.create_model`` knows it.
        pretrained: load timm's weights, which it downloads once.
        checkpoint: path or URL of a file with the model's weights, loaded instead.
        in_chans: channels of the image; timm adapts the weights of the first convolution.
        use_act_checkpoint: recompute blocks in backward instead of keeping their activations.
        model_options: further arguments of the model.
        out_features, freeze_at, freeze_norms, square_size: see `ClassifierBackbone`.

    Raises:
        ImportError: if timm is not installed; names the extra.
        ValueError: if there is no such model, or it gives no maps.
    """

    def __init__(
        self,
        model: str,
        *,
        pretrained: bool = False,
        checkpoint: str = "",
        in_chans: int = 3,
        out_features: Sequence[str] | None = None,
        freeze_at: int = 0,
        freeze_norms: bool = False,
        use_act_checkpoint: bool = False,
        square_size: int = 0,
        model_options: Mapping[str, Any] | None = None,
    ) -> None:
        options = {"in_chans": in_chans, **(model_options or {})}
        if square_size:
            options.setdefault("img_size", square_size)
        with torch.device("meta"):
            plan, options = _features(model, options)
        strides = dict(
            zip(plan.feature_info.out_indices, plan.feature_info.reduction(), strict=True)
        )
        patch_size = 0
        if len(set(strides.values())) == 1:  # a plain transformer: the last of equal maps
            patch_size = next(iter(strides.values()))
            indices = [max(strides)]
        else:
            indices = _needed(strides, out_features, freeze_at)
        options["out_indices"] = indices
        if checkpoint:
            options["pretrained_cfg_overlay"] = {
                "state_dict": tensors_of(read_checkpoint(checkpoint)["model"])
            }
        net, _ = _features(model, options, pretrained=pretrained or bool(checkpoint))
        super().__init__(
            net,
            out_features,
            in_chans=in_chans,
            freeze_at=freeze_at,
            freeze_norms=freeze_norms,
            patch_size=patch_size,
            square_size=square_size,
        )
        if use_act_checkpoint:  # only now: the dry run's gradients would compute other blocks
            _recompute_blocks(model, net)


def _features(
    name: str, options: Mapping[str, Any], *, pretrained: bool = False
) -> tuple[Any, dict[str, Any]]:
    """A model that returns its maps, and the options it took: any size if it has such."""
    try:
        timm = importlib.import_module("timm")
    except ImportError:
        raise ImportError("models of timm need it: pip install 'd2-modeling[timm]'") from None
    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), n=3)
        hint = f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
        raise ValueError(f"timm has no model {name!r}{hint}")
    tried = [{**one, **options} for one in _ANY_SIZE]
    for attempt in tried if "img_size" not in options else tried[-1:]:
        try:
            model = timm.create_model(name, features_only=True, pretrained=pretrained, **attempt)
        except TypeError:
            if attempt is tried[-1]:
                raise
        except (AttributeError, NotImplementedError, RuntimeError) as error:
            raise ValueError(f"timm's model {name!r} gives no feature maps: {error}") from error
        else:
            return model, attempt
    raise AssertionError("the last attempt returns or raises")


def _needed(
    strides: Mapping[int, int], out_features: Sequence[str] | None, freeze_at: int
) -> list[int]:
    """The places of the maps that are outputs, and of those that are frozen."""
    names = {f"res{stride.bit_length() - 1}": index for index, stride in strides.items()}
    wanted = wanted_outputs(list(names), out_features)
    return [
        index for name, index in names.items() if name in wanted or strides[index] <= 2**freeze_at
    ]


def _recompute_blocks(name: str, net: Any) -> None:
    """Let a model compute its blocks again in backward.

    Raises:
        ValueError: if it cannot.
    """
    part: Any = net if hasattr(net, "set_grad_checkpointing") else getattr(net, "model", None)
    try:
        part.set_grad_checkpointing(True)
    except (AssertionError, AttributeError):
        raise ValueError(
            f"timm's model {name!r} cannot recompute its blocks: set use_act_checkpoint to False"
        ) from None
