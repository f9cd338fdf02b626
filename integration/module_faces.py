"""Modules that are faces by themselves, beside the packages that list their names."""

MODULE_FACES = (
    "d2_config.logger",
    "d2_config.registry",
    "d2_data.detection_utils",
    "d2_modeling.analysis",
    "d2_modeling.anchor_generator",
    "d2_modeling.box_regression",
    "d2_modeling.events",
    "d2_modeling.matcher",
    "d2_modeling.poolers",
    "d2_modeling.postprocessing",
    "d2_modeling.sampling",
    "d2_ops.memory",
    "d2_ops.overlay",  # written into d2-ops' README
    "d2_structures.comm",
)
