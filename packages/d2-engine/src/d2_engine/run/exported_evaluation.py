"""The evaluation of an exported model, beside that of the model it came from."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
from torch import nn

from d2_data import STALL_TIMEOUT
from d2_data.detection_utils import image_to_tensor, read_image
from d2_engine.run.evaluate import Results, evaluate, evaluate_model, loaders_of
from d2_engine.run.plan import RunPlan, TestSet
from d2_modeling.export import ExportedModel, load_exported
from d2_structures import comm

__all__ = ["evaluate_exported", "side_by_side"]


class _OnFiles(nn.Module):
    """An exported model that resizes pictures itself, given the files of a test set."""

    def __init__(self, model: ExportedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, batched_inputs: Sequence[Mapping[str, Any]]) -> Any:
        return self.model([self._with_picture(entry) for entry in batched_inputs])

    def _with_picture(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        if "file_name" not in entry:
            raise ValueError(
                "this exported model resizes pictures itself, so that it is evaluated on files, "
                "but the test data has no file_name; export the model without preprocessing"
            )
        picture = read_image(entry["file_name"], format=self.model.sidecar.preprocessing.channels)
        return {**entry, "image": image_to_tensor(picture)}


def evaluate_exported(
    plan: RunPlan,
    path: str | os.PathLike[str],
    *,
    allow_unsafe: bool = False,
    beside_model: bool = True,
    stall_timeout: float = STALL_TIMEOUT,
) -> dict[str, Results]:
    """Evaluate what was exported on the test sets of a plan.

    Args:
        plan: says what to evaluate on, and by what; and, for the model, how it is built and its
            weights.
        path: the exported file; its sidecar lies beside it.
        allow_unsafe: run the program that a file of PyTorch's formats is.
        beside_model: evaluate the plan's model as well.
        stall_timeout: seconds that loading processes may deliver nothing; 0 waits for ever.

    Returns:
        ``"exported"``, and before it ``"model"``: the results of each, as
        :func:`~d2_engine.run.evaluate` gives them. What evaluators write about the exported model
        is in ``exported`` in the run's folder. Empty on other than the main process.

    Raises:
        FileNotFoundError: if the file or its sidecar is missing.
        ValueError: if there are no test sets, their classes are not those of the exported model,
            or it is a program and ``allow_unsafe`` is not given; otherwise as `evaluate`.
    """
    loaded = load_exported(path, allow_unsafe=allow_unsafe)
    loaders = loaders_of(plan, stall_timeout)
    for test in plan.test_sets:
        _check_classes(loaded, Path(path), test)
    found: dict[str, Results] = {}
    if beside_model:
        found["model"] = evaluate(plan, stall_timeout=stall_timeout)
    elsewhere = attrs.evolve(plan, output_dir=os.path.join(plan.output_dir, "exported"))
    model = _OnFiles(loaded) if loaded.sidecar.preprocessing.inside else loaded
    found["exported"] = evaluate_model(elsewhere, model.eval(), loaders).results
    return found if comm.is_main_process() else {}


def _check_classes(model: ExportedModel, path: Path, test: TestSet) -> None:
    given, wanted = list(model.sidecar.class_names), list(test.metadata.get("thing_classes") or [])
    if given and wanted and given != wanted:
        raise ValueError(f"{path.name} knows the classes {given}, but {test.name} has {wanted}")


def side_by_side(found: Mapping[str, Results]) -> Results:
    """One table of what `evaluate_exported` gave: a row for each, and one for the difference.

    Scores of single categories are left out.

    Returns:
        ``{"task, model": scores, "task, exported": scores, "task, difference": scores}``; with
        several test sets, those by the set's name.
    """
    exported = found["exported"]
    if any(isinstance(each, Mapping) for scores in exported.values() for each in scores.values()):
        return {
            name: side_by_side({kind: results[name] for kind, results in found.items()})
            for name in exported
        }
    rows: Results = {}
    for task, scores in exported.items():
        metrics = [name for name in scores if not name.startswith("AP-")]
        for kind, results in found.items():
            rows[f"{task}, {kind}"] = {name: results[task][name] for name in metrics}
        if "model" in found:
            rows[f"{task}, difference"] = {
                name: scores[name] - found["model"][task][name] for name in metrics
            }
    return rows
