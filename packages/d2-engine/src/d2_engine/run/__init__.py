"""Training, evaluation and prediction of whatever a config describes, on one road."""

from d2_engine.run.configs import from_config, import_modules, load_plan, modules_to_trust
from d2_engine.run.evaluate import evaluate
from d2_engine.run.folder import load_metadata
from d2_engine.run.from_lazy import from_lazy
from d2_engine.run.from_yacs import YacsParts, from_yacs
from d2_engine.run.plan import Count, Preprocessing, RunPlan, TestSet, TrainData
from d2_engine.run.settings import Settings
from d2_engine.run.train import train
from d2_engine.run_options import RunOptions

__all__ = [
    "Count",
    "Preprocessing",
    "RunOptions",
    "RunPlan",
    "Settings",
    "TestSet",
    "TrainData",
    "YacsParts",
    "evaluate",
    "from_config",
    "from_lazy",
    "from_yacs",
    "import_modules",
    "load_metadata",
    "load_plan",
    "modules_to_trust",
    "train",
]
