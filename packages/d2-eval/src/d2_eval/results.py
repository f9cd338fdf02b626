"""Print, flatten and check the results of evaluators: ``{task: {metric: score}}``."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

_logger = logging.getLogger(__name__)


def print_csv_format(results: Mapping[str, Any]) -> None:
    """Log the results so that they can be pasted into a spreadsheet.

    Each task gives three lines that start with ``copypaste:``: its name, the metrics, the scores.
    Per-category scores (``AP-cat``) are left out. A task whose value is a number gives one line.

    Raises:
        TypeError: if ``results`` is no mapping.
    """
    if not isinstance(results, Mapping):
        raise TypeError(
            f"results is a mapping from task to scores, got {type(results).__name__}: {results!r}"
        )
    for task, scores in results.items():
        if not isinstance(scores, Mapping):
            _logger.info("copypaste: %s=%s", task, scores)
            continue
        main = {metric: score for metric, score in scores.items() if "-" not in metric}
        _logger.info("copypaste: Task: %s", task)
        _logger.info("copypaste: %s", ",".join(main))
        _logger.info("copypaste: %s", ",".join(f"{score:.4f}" for score in main.values()))


def flatten_results_dict(results: Mapping[str, Any]) -> dict[str, Any]:
    """Join nested keys with slashes: ``{"bbox": {"AP": 1}}`` becomes ``{"bbox/AP": 1}``."""
    flat: dict[str, Any] = {}
    for key, value in results.items():
        if isinstance(value, Mapping):
            flat |= {f"{key}/{inner}": v for inner, v in flatten_results_dict(value).items()}
        else:
            flat[key] = value
    return flat


def verify_results(cfg: Any, results: Mapping[str, Mapping[str, float]]) -> bool:
    """Compare results with what a config expects.

    Args:
        cfg: a config whose ``TEST.EXPECTED_RESULTS`` lists ``[task, metric, value, tolerance]``,
            or such a list itself. Empty: nothing is checked.
        results: what the evaluators returned.

    Returns:
        True.

    Raises:
        ValueError: if a score is missing, not finite, or off by more than its tolerance; the
            message lists every such score.
    """
    expected: Sequence[Sequence[Any]] = cfg.TEST.EXPECTED_RESULTS if hasattr(cfg, "TEST") else cfg
    complaints = []
    for task, metric, wanted, tolerance in expected:
        got = results.get(task, {}).get(metric)
        if got is None:
            complaints.append(f"{task}/{metric} is missing")
        elif not math.isfinite(got) or abs(got - wanted) > tolerance:
            complaints.append(f"{task}/{metric} is {got}, wanted {wanted} ± {tolerance}")
    if complaints:
        raise ValueError("results differ from the expected ones: " + "; ".join(complaints))
    if expected:
        _logger.info("All %d expected results are met", len(expected))
    return True
