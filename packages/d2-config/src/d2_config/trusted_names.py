"""The names that config files may call without more trust; see ``trusted_targets``."""

LOCATE = "d2_config.locate"
BIND = "d2_config.saving.bind"
LOST = "d2_config.saving.lost_value"

LOCATORS = (LOCATE, "d2_config.dotted_name.locate")
"""What imports its argument ``name``."""

_PLAIN_TYPES = (
    *("bool", "complex", "dict", "float", "frozenset", "int"),
    *("list", "range", "set", "slice", "str", "tuple"),
)

NAMES = frozenset(
    {*LOCATORS, BIND, LOST, "collections.OrderedDict"}
    | {f"{prefix}{kind}" for prefix in ("", "builtins.") for kind in _PLAIN_TYPES}
)
"""Names that are trusted by themselves: what saved configs are written with, and plain types."""

PACKAGES = (
    "d2_data.aspect_ratio_grouping",
    "d2_data.dataset_dicts",
    "d2_data.dataset_mapper",
    "d2_data.detection_loader",
    "d2_data.detection_utils",
    "d2_data.list_dataset",
    "d2_data.loaders",
    "d2_data.mapped_dataset",
    "d2_data.mixing",
    "d2_data.record_stream",
    "d2_data.samplers",
    "d2_data.shared_reading",
    "d2_data.transforms",
    "d2_engine.data_parallel",
    "d2_engine.hooks",
    "d2_engine.solver",
    "d2_engine.test_time_augmentation",
    "d2_engine.train_loop",
    "d2_engine.trainers",
    "d2_eval",
    "d2_modeling",
    "d2_ops",
    "d2_structures",
    "timm.layers",
    "timm.loss",
    "timm.models",
    "timm.optim",
    "timm.scheduler",
    "torch.nn",
    "torch.optim",
    "torchvision.datasets.imagenet",
    "torchvision.models",
    "torchvision.ops",
    "torchvision.transforms",
)
"""Where trusted classes and functions are defined."""

FACES = ("d2_data", "d2_engine", "timm", "torchvision.datasets")
"""Packages under which some of them are found as well."""

EXCEPT = (
    # write files
    "d2_eval.live",
    "d2_eval.report",
    "d2_modeling.export",
    "d2_modeling.weights",
    "d2_structures.visualizer",
    # widens what may be opened
    "d2_structures.picture_files",
    # import, load or run what they are given
    "d2_modeling.mmdet_wrapper",
    "d2_ops._cmake",
    "d2_ops._lazy",
    "d2_ops._library",
    "d2_ops._operators",
    "d2_ops.overlay",
    "d2_structures.optional_imports",
    "timm.models._builder",
    "timm.models._helpers",
    "timm.models._hub",
    "timm.models._pretrained",
    "timm.models._registry",
    "timm.models.helpers",
    "timm.models.hub",
    "timm.models.registry",
    "torchvision.models.feature_extraction",
)
"""Modules within them that do more."""
