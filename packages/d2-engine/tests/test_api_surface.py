"""The public names of the package; removing one is deliberate."""

import importlib

import pytest

NAMES = {
    "d2_engine": ["AMPTrainer", "HookBase", "SimpleTrainer", "TrainerBase", "launch"],
    "d2_engine.batch": ["Predicted", "predict", "read_predictions"],
    "d2_engine.compat": [
        "install",
        "is_installed",
        "is_provided",
        "provided_modules",
        "translate",
        "uninstall",
    ],
    "d2_engine.checkpoint": [
        "Checkpointer",
        "DetectionCheckpointer",
        "PeriodicCheckpointer",
        "ema_weights",
        "read_checkpoint",
    ],
    "d2_engine.defaults": [
        "DefaultPredictor",
        "DefaultTrainer",
        "create_ddp_model",
        "default_argument_parser",
        "default_setup",
        "default_writers",
    ],
    "d2_engine.events": [
        "CommonMetricPrinter",
        "EventStorage",
        "EventWriter",
        "JSONWriter",
        "TensorboardXWriter",
        "get_event_storage",
    ],
    "d2_engine.hooks": [
        "AutogradProfiler",
        "BestCheckpointer",
        "CallbackHook",
        "EMA",
        "EvalHook",
        "IterationSeed",
        "IterationTimer",
        "LRScheduler",
        "PeriodicCheckpointer",
        "PeriodicWriter",
        "PreciseBN",
        "TorchProfiler",
    ],
    "d2_engine.migrate": ["Finding", "Migrated", "migrate_file", "migrate_tree"],
    "d2_engine.model_zoo": [
        "PublishedModel",
        "get",
        "get_checkpoint_url",
        "get_config",
        "get_config_file",
        "list_config_files",
        "published_models",
    ],
    "d2_engine.test_time_augmentation": ["DatasetMapperTTA", "GeneralizedRCNNWithTTA"],
}


@pytest.mark.parametrize("module", NAMES)
def test_the_public_names_are_these(module):
    assert sorted(importlib.import_module(module).__all__) == NAMES[module]


@pytest.mark.parametrize("module", NAMES)
def test_every_public_name_is_there_and_documented(module):
    for name in NAMES[module]:
        assert getattr(importlib.import_module(module), name).__doc__, name
