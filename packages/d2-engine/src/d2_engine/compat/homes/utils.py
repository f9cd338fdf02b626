"""``detectron2.utils`` and ``detectron2.tracking``."""

from d2_engine.compat.module_map import each, home

_COLORS = each(".shims.colors", "colormap", "random_color", "random_colors")
_ANALYSIS = "d2_modeling.analysis"
_EVENTS = "d2_engine.events"
_VISUALIZER = "d2_structures.visualizer"
_FILES = each(
    ".shims.file_io", "Detectron2Handler", "PathHandler", "PathManager", "PathManagerBase"
)
_CAPTIONS = each(".shims.pictures", "_create_text_labels")

_CONSTANTS = each(
    ".shims.drawing_constants",
    "_BLACK",
    "_KEYPOINT_THRESHOLD",
    "_LARGE_MASK_AREA_THRESH",
    "_OFF_WHITE",
    "_RED",
    "_SMALL_OBJECT_AREA_THRESH",
)
_TRACKING = ".tracking"

MODULES = {
    "detectron2.tracking": home(_TRACKING),
    "detectron2.tracking.base_tracker": home(_TRACKING),
    "detectron2.tracking.bbox_iou_tracker": home(_TRACKING),
    "detectron2.tracking.hungarian_tracker": home(_TRACKING),
    "detectron2.tracking.iou_weighted_hungarian_bbox_iou_tracker": home(_TRACKING),
    "detectron2.tracking.vanilla_hungarian_bbox_iou_tracker": home(_TRACKING),
    "detectron2.utils": home(),
    "detectron2.utils.analysis": home(
        _ANALYSIS,
        names=each(".shims.unused_parameters", "find_unused_parameters")
        | each(".shims.operator_counts", "FlopCountAnalysis")
        | each("d2_modeling.export", "TracingAdapter"),
    ),
    "detectron2.utils.collect_env": home(".shims.collect_env"),
    "detectron2.utils.colormap": home(names=_COLORS),
    "detectron2.utils.comm": home("d2_structures.comm", is_same=True),
    "detectron2.utils.develop": home(
        names=each(".shims.dummies", "create_dummy_class", "create_dummy_func")
    ),
    "detectron2.utils.env": home(".shims.process_environment"),
    "detectron2.utils.events": home(
        *(_EVENTS, "d2_modeling.events"), names=each(".shims.event_state", "has_event_storage")
    ),
    "detectron2.utils.file_io": home(names=_FILES),
    "detectron2.utils.logger": home(
        "d2_config.logger", names=each(".shims.logging", "_log_api_usage")
    ),
    "detectron2.utils.memory": home("d2_ops.memory"),
    "detectron2.utils.registry": home(
        "d2_config", names=each(".shims.target_names", "_convert_target_to_string")
    ),
    "detectron2.utils.serialize": home(names=each(".shims.serialize", "PicklableWrapper")),
    "detectron2.utils.testing": home(".shims.testing"),
    "detectron2.utils.tracing": home(".shims.tracing_state"),
    "detectron2.utils.video_visualizer": home(
        _VISUALIZER,
        names=_COLORS
        | _CAPTIONS
        | each(".shims.pictures", "_DetectedInstance")
        | each(".shims.visualizers", "VideoVisualizer", "Visualizer"),
    ),
    "detectron2.utils.visualizer": home(
        _VISUALIZER,
        names=_COLORS
        | _CAPTIONS
        | each(".shims.pictures", "GenericMask", "_PanopticPrediction")
        | _CONSTANTS
        | each(".shims.visualizers", "Visualizer"),
    ),
}
