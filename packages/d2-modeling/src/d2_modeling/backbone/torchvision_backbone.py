"""Classification models of torchvision as backbones."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from ..weights import match_weights, read_checkpoint, tensors_of
from .classifier_backbone import (
    PROBED_SIZE,
    ClassifierBackbone,
    named_maps,
    wanted_outputs,
)
from .network_probe import NetworkProbe
from .window_attention import absolute_positions, run_block

_HEADS = ("classifier", "fc", "head", "heads", "avgpool")
_FILLED_SLOWLY = ("googlenet", "inception_v3")
"""Their constructors want to be told whether to fill the weights."""


class TorchvisionBackbone(ClassifierBackbone):
    """Any classification model of torchvision as a backbone, without its classifier.

    Of the blocks whose maps have one stride the last is an output: ``layer1`` to ``layer4`` of a
    ResNet are ``res2`` to ``res5``. A vision transformer has one, of the stride of its patches,
    and takes images of any size. Parameters keep torchvision's names behind ``net.``, so that
    its checkpoints load. Its models were trained on RGB images: set ``pixel_mean`` to
    [123.675, 116.28, 103.53] and ``pixel_std`` to [58.395, 57.12, 57.375].

    Args:
        model: name, as ``torchvision.models.get_model`` knows it, or the model itself.
        pretrained: load torchvision's best ImageNet weights, which it downloads once.
        checkpoint: path or URL of a file with a state dict of the model, loaded instead.
        use_act_checkpoint: recompute blocks in backward instead of keeping their activations.
        model_options: further arguments of the model.
        out_features, freeze_at, freeze_norms, square_size: see `ClassifierBackbone`.

    Raises:
        ImportError: if torchvision is not installed; names the extra.
        ValueError: if there is no such model, or the checkpoint does not fit it.
    """

    def __init__(
        self,
        model: str | nn.Module,
        *,
        pretrained: bool = False,
        checkpoint: str = "",
        out_features: Sequence[str] | None = None,
        freeze_at: int = 0,
        freeze_norms: bool = False,
        use_act_checkpoint: bool = False,
        square_size: int = 0,
        model_options: Mapping[str, Any] | None = None,
    ) -> None:
        network: Any = (
            _classification_model(model, pretrained, dict(model_options or {}))
            if isinstance(model, str)
            else model
        )
        in_chans = _image_channels(network)
        patch_size = 0
        if hasattr(network, "conv_proj") and hasattr(network, "class_token"):
            trunk: nn.Module = _TransformerTrunk(network, use_act_checkpoint)
            patch_size = int(network.patch_size)
        else:
            trunk = _trunk(network, in_chans, out_features, freeze_at, square_size)
        if checkpoint:
            _load(trunk, checkpoint)
        super().__init__(
            trunk,
            out_features,
            in_chans=in_chans,
            freeze_at=freeze_at,
            freeze_norms=freeze_norms,
            patch_size=patch_size,
            square_size=square_size,
        )

        self._use_act_checkpoint = use_act_checkpoint

    def _maps(self, x: Tensor) -> Sequence[Tensor]:
        if self._use_act_checkpoint and self.training and isinstance(self.net, fx.GraphModule):
            recomputed: Sequence[Tensor] = _Recomputing(self.net).run(x)
            return recomputed
        return super()._maps(x)


class _Blocks(fx.Tracer):
    """Records which blocks a network calls, and what it does between them."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return type(m) is not nn.Sequential


class _Recomputing(fx.Interpreter):
    """Runs a network with its blocks computed again in backward."""

    def call_module(self, target: Any, args: Any, kwargs: Any) -> Any:
        block = self.fetch_attr(target)
        has_layers = next(block.children(), None) is not None
        return run_block(block, *args, recompute=has_layers and not kwargs)


class _TransformerTrunk(nn.Module):
    """A vision transformer of torchvision that returns its patches as a map, of any size.

    Args:
        network: ``torchvision.models.VisionTransformer``, whose parts it takes.
        recompute: recompute blocks in backward.
    """

    def __init__(self, network: Any, recompute: bool) -> None:
        super().__init__()
        self.conv_proj = network.conv_proj
        self.class_token = network.class_token
        self.encoder = network.encoder
        self.recompute = recompute

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map images (N, C, H, W) to one map (N, C', H / patch, W / patch)."""
        patches: Tensor = self.conv_proj(x)
        size = (patches.shape[2], patches.shape[3])
        positions: Tensor = self.encoder.pos_embedding
        places = absolute_positions(positions, True, size).flatten(1, 2)
        token = (self.class_token + positions[:, :1]).expand(len(x), -1, -1)
        tokens = torch.cat([token, patches.flatten(2).transpose(1, 2) + places], dim=1)
        tokens = self.encoder.dropout(tokens)
        for block in self.encoder.layers:
            tokens = run_block(block, tokens, recompute=self.recompute and self.training)
        normalised: Tensor = self.encoder.ln(tokens)
        return [normalised[:, 1:].transpose(1, 2).unflatten(2, size)]


def _trunk(
    network: nn.Module,
    in_chans: int,
    out_features: Sequence[str] | None,
    freeze_at: int,
    square_size: int,
) -> fx.GraphModule:
    """The part of a network that the outputs wanted, and what is frozen, depend on."""
    training = network.training
    graph = _Blocks().trace(network.eval())
    network.train(training)
    steps = [
        node
        for node in graph.nodes
        if node.op in ("call_module", "call_function", "call_method")
        and str(node.target).partition(".")[0] not in _HEADS
    ]
    sides = (square_size, square_size) if square_size else PROBED_SIZE
    probe = NetworkProbe(_returning(network, graph, steps), (in_chans, *sides))
    found = named_maps(probe.maps())
    wanted = wanted_outputs(list(found), out_features)
    kept = [
        steps[index]
        for name, (index, one) in found.items()
        if name in wanted or one.stride <= 2**freeze_at
    ]
    return _returning(network, graph, kept)


def _returning(network: nn.Module, graph: fx.Graph, nodes: Sequence[fx.Node]) -> fx.GraphModule:
    """A network that returns what some steps of another compute, in their order."""
    copies: dict[fx.Node, fx.Node] = {}
    pruned = fx.Graph()
    pruned.graph_copy(graph, copies)
    pruned.output([copies[node] for node in nodes])
    module = fx.GraphModule(network, pruned, type(network).__name__)
    module.graph.eliminate_dead_code()
    module.delete_all_unused_submodules()
    module.recompile()
    return module.train(network.training)


def _classification_model(name: str, pretrained: bool, options: dict[str, Any]) -> nn.Module:
    """Make a model of torchvision by its name."""
    try:
        models = importlib.import_module("torchvision.models")
    except ImportError:
        raise ImportError(
            "models of torchvision need it: pip install 'd2-modeling[torchvision]'"
        ) from None
    known = models.list_models(module=models)
    if name not in known:
        close = difflib.get_close_matches(name, known, n=3)
        hint = f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
        raise ValueError(f"torchvision has no classification model {name!r}{hint}")
    if name in _FILLED_SLOWLY and not pretrained:
        options.setdefault("init_weights", True)
    if pretrained:
        options.setdefault("weights", "DEFAULT")
    network: nn.Module = models.get_model(name, **options)
    return network


def _image_channels(network: nn.Module) -> int:
    """Channels of the images that a network takes: those of its first convolution."""
    first = next((m for m in network.modules() if isinstance(m, nn.Conv2d)), None)
    return 3 if first is None else first.in_channels


def _load(trunk: nn.Module, path: str) -> None:
    """Load a classification model's weights, whose classifier has no place."""
    content = read_checkpoint(path)
    match = match_weights(trunk.state_dict(), tensors_of(content["model"]))
    if match.missing or match.mismatched:
        raise ValueError(f"checkpoint {path!r} does not fit the backbone:\n{match.report()}")
    trunk.load_state_dict(match.state_dict, strict=False)
