"""``detectron2.engine``, ``detectron2.solver`` and ``detectron2.checkpoint``."""

from d2_engine.compat.module_map import each, home

_ENGINE = ("d2_engine", "d2_engine.defaults")
_SOLVER = "d2_engine.solver"
_HOOKS = "d2_engine.hooks"
_OLD_SOLVER = each(
    ".shims.solver",
    "GradientClipType",
    "_expand_param_groups",
    "maybe_add_gradient_clipping",
    "reduce_param_groups",
)
_OLD_SCHEDULES = each(
    ".shims.schedules", "WarmupCosineLR", "WarmupMultiStepLR", "_get_warmup_factor_at_iter"
)
_CHECKPOINT = "d2_engine.checkpoint"
_STEPS = each(".shims.checkpointers", "Checkpointer", "DetectionCheckpointer")

MODULES = {
    "detectron2.engine": home(*_ENGINE, _HOOKS, names=each(".shims.launching", "DEFAULT_TIMEOUT")),
    "detectron2.engine.defaults": home(
        *_ENGINE, names=each(".shims.script_setup", "_highlight", "_try_get_key")
    ),
    "detectron2.engine.hooks": home(_HOOKS, names=each("d2_engine", "HookBase")),
    "detectron2.engine.launch": home(
        names=each("d2_engine", "launch")
        | each(".shims.launching", "DEFAULT_TIMEOUT", "_find_free_port")
    ),
    "detectron2.engine.train_loop": home("d2_engine"),
    "detectron2.solver": home(_SOLVER, names=_OLD_SOLVER | _OLD_SCHEDULES),
    "detectron2.solver.build": home(_SOLVER, names=_OLD_SOLVER),
    "detectron2.solver.lr_scheduler": home(_SOLVER, names=_OLD_SCHEDULES),
    "detectron2.checkpoint": home(_CHECKPOINT, names=_STEPS),
    "detectron2.checkpoint.c2_model_loading": home(
        _CHECKPOINT, names=each(".shims.checkpoints", "align_and_update_state_dicts")
    ),
    "detectron2.checkpoint.detection_checkpoint": home(_CHECKPOINT, names=_STEPS),
}
