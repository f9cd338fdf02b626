"""The parts of fvcore that projects use beside detectron2."""

from d2_engine.compat.module_map import each, home

_ANALYSIS = "d2_modeling.analysis"
_COUNTS = each(".shims.operator_counts", "FlopCountAnalysis")
_TRANSFORMS = "d2_data.transforms"
_SCHEDULES = "d2_engine.solver"
_FILES = each(".shims.file_io", "HTTPURLHandler", "PathHandler", "PathManager", "file_lock")
_STAR = each(".shims.focal_loss_star", "sigmoid_focal_loss_star", "sigmoid_focal_loss_star_jit")
_LOSSES = each("d2_modeling.layers", "giou_loss", "smooth_l1_loss", "sigmoid_focal_loss")
_STATISTICS = each(".shims.precise_statistics", "get_bn_modules", "update_bn_stats")

MODULES = {
    "fvcore.common": home(),
    "fvcore.common.benchmark": home(names=each(".shims.timing", "benchmark", "timeit")),
    "fvcore.common.checkpoint": home(
        "d2_engine.checkpoint",
        names=each(".shims.checkpoints", "_IncompatibleKeys", "_strip_prefix_if_present")
        | each(".shims.checkpointers", "Checkpointer"),
    ),
    "fvcore.common.config": home(names=each("d2_config", "CfgNode")),
    "fvcore.common.download": home(names=each(".shims.file_io", "download")),
    "fvcore.common.file_io": home(names=_FILES),
    "fvcore.common.history_buffer": home("d2_modeling.events"),
    "fvcore.common.param_scheduler": home(_SCHEDULES),
    "fvcore.common.registry": home(names=each("d2_config", "Registry")),
    "fvcore.common.timer": home(names=each(".shims.timing", "Timer")),
    "fvcore.nn": home(
        _ANALYSIS,
        names=_LOSSES
        | _STAR
        | _COUNTS
        | _STATISTICS
        | each(".shims.flop_count", "flop_count")
        | {"sigmoid_focal_loss_jit": "d2_modeling.layers:sigmoid_focal_loss"},
    ),
    "fvcore.nn.distributed": home(
        names=each(".shims.collectives", "differentiable_all_gather", "differentiable_all_reduce")
    ),
    "fvcore.nn.flop_count": home(
        _ANALYSIS, names=_COUNTS | each(".shims.flop_count", "flop_count")
    ),
    "fvcore.nn.focal_loss": home(
        names=_LOSSES | _STAR | {"sigmoid_focal_loss_jit": "d2_modeling.layers:sigmoid_focal_loss"}
    ),
    "fvcore.nn.giou_loss": home(names=_LOSSES),
    "fvcore.nn.jit_handles": home(".shims.operator_counts"),
    "fvcore.nn.parameter_count": home(_ANALYSIS),
    "fvcore.nn.precise_bn": home(names=_STATISTICS),
    "fvcore.nn.print_model_statistics": home(_ANALYSIS),
    "fvcore.nn.smooth_l1_loss": home(names=_LOSSES),
    "fvcore.nn.weight_init": home(".shims.weight_init"),
    "fvcore.transforms": home(_TRANSFORMS),
    "fvcore.transforms.transform": home(_TRANSFORMS),
    "fvcore.transforms.transform_util": home(names=each(".shims.collectives", "to_float_tensor")),
}
