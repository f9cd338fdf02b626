"""Results as plain-text tables that are also valid Markdown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from d2_eval.coco import CocoCurves


def format_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Lay out a table; numbers are aligned to the right and floats get two decimals.

    Args:
        header: titles of the columns.
        rows: each as long as ``header``.

    Raises:
        ValueError: if a row has another length.
    """
    for row in rows:
        if len(row) != len(header):
            raise ValueError(f"a row has {len(row)} cells, the header has {len(header)}: {row}")
    cells = [[_cell(value) for value in row] for row in rows]
    right = [
        any(isinstance(row[i], int | float) for row in rows)
        and all(isinstance(row[i], int | float) or row[i] == "" for row in rows)
        for i in range(len(header))
    ]
    widths = [max(3, len(title), *(len(row[i]) for row in cells)) for i, title in enumerate(header)]
    rule = [
        "-" * (width - 1) + ":" if is_right else "-" * width
        for width, is_right in zip(widths, right, strict=True)
    ]
    lines = [
        " | ".join(
            text.rjust(width) if is_right else text.ljust(width)
            for text, width, is_right in zip(row, widths, right, strict=True)
        )
        for row in (list(header), rule, *cells)
    ]
    return "\n".join(f"| {line} |" for line in lines)


def results_table(
    results: Mapping[str, Any], *, width: int = 100, most_categories: int = 100
) -> str:
    """Everything that evaluators returned, once: main metrics of each task, then categories.

    Tasks that share a metric stand in one table. Scores of categories (``AP-name``) follow,
    several categories beside each other.

    Args:
        results: ``{task: {metric: score}}``, or that by the name of each of several test sets,
            which then get their tables below their name.
        width: letters in a line of the tables of categories.
        most_categories: of more, only the best and the worst are listed.

    Returns:
        Text in lines, without one at the end.
    """
    if not results:
        return "no results"
    if not any(_holds_tasks(scores) for scores in results.values()):
        return _tables_of_tasks(results, width, most_categories)
    return "\n\n".join(
        f"{name}\n\n{_tables_of_tasks(tasks, width, most_categories) if tasks else 'no results'}"
        for name, tasks in results.items()
    )


def class_table(curves: CocoCurves) -> str:
    """A table of one task with AP, AP50, AP75 for each class and for all."""
    rows: list[list[object]] = [
        [
            name,
            curves.average_precision(class_name=name),
            curves.average_precision(iou=0.5, class_name=name),
            curves.average_precision(iou=0.75, class_name=name),
        ]
        for name in curves.class_names
    ]
    metrics = curves.metrics()
    rows.append(["all", metrics["AP"], metrics["AP50"], metrics["AP75"]])
    return format_table(["category", "AP", "AP50", "AP75"], rows)


def _holds_tasks(scores: object) -> bool:
    return isinstance(scores, Mapping) and any(isinstance(v, Mapping) for v in scores.values())


def _tables_of_tasks(results: Mapping[str, Any], width: int, most_categories: int) -> str:
    tasks = {
        task: scores if isinstance(scores, Mapping) else {"score": scores}
        for task, scores in results.items()
    }
    main = {task: _main_metrics(scores) for task, scores in tasks.items()}
    tables = [_main_table({task: main[task] for task in group}) for group in _related(main)]
    columns: dict[tuple[str, ...], dict[str, dict[str, Any]]] = {}
    for task, scores in tasks.items():
        for metric, of_category in _by_category(scores, main[task]).items():
            title = metric if len(tasks) == 1 else f"{task} {metric}"
            columns.setdefault(tuple(of_category), {})[title] = of_category
    tables += [_category_table(titled, width, most_categories) for titled in columns.values()]
    if any(_is_nan(score) for scores in tasks.values() for score in scores.values()):
        tables.append("nan: nothing of that kind is annotated, or nothing was predicted")
    return "\n\n".join(tables)


def _main_metrics(scores: Mapping[str, Any]) -> dict[str, Any]:
    return {name: score for name, score in scores.items() if not _is_of_category(name, scores)}


def _is_of_category(name: str, scores: Mapping[str, Any]) -> bool:
    """Whether this is a metric of one category: ``AP-cat`` beside ``AP``, ``IoU-x`` by ``mIoU``."""
    metric, dash, _ = name.partition("-")
    return bool(dash) and (metric in scores or f"m{metric}" in scores)


def _by_category(scores: Mapping[str, Any], main: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Scores of the categories by metric and category."""
    found: dict[str, dict[str, Any]] = {}
    for name, score in scores.items():
        if name not in main:
            metric, _, category = name.partition("-")
            found.setdefault(metric, {})[category] = score
    return found


def _related(main: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """Tasks in groups: those that share a metric with one before stand in its group."""
    groups: list[tuple[list[str], set[str]]] = []
    for task, metrics in main.items():
        for tasks, known in groups:
            if known & set(metrics):
                tasks.append(task)
                known.update(metrics)
                break
        else:
            groups.append(([task], set(metrics)))
    return [tasks for tasks, _ in groups]


def _main_table(tasks: Mapping[str, Mapping[str, Any]]) -> str:
    metrics = list(dict.fromkeys(metric for scores in tasks.values() for metric in scores))
    rows = [[task, *(scores.get(m, "") for m in metrics)] for task, scores in tasks.items()]
    return format_table(["task", *metrics], rows)


def _category_table(
    titled: Mapping[str, Mapping[str, Any]], width: int, most_categories: int
) -> str:
    """Categories with their scores, as many beside each other as there is room for."""
    first = next(iter(titled.values()))
    names, note = list(first), ""
    if len(names) > most_categories:
        known = [name for name in names if not _is_nan(first[name])]
        known.sort(key=lambda name: -first[name])
        half = most_categories // 4
        note = f"\nthe best {half} and the worst {half} of {len(names)} categories"
        names = [*known[:half], *known[half:][-half:]]
    titles = ["category", *titled]
    widths = [max(len(text) for text in [titles[0], *names])]
    widths += [max(len("100.00"), len(title)) for title in titled]
    beside = max(1, min((width - 1) // (sum(widths) + 3 * len(widths)), len(names)))
    step = beside * len(titles)
    cells = [cell for name in names for cell in (name, *(of[name] for of in titled.values()))]
    cells += [""] * (-len(cells) % step)
    rows = [cells[i : i + step] for i in range(0, len(cells), step)]
    return format_table(titles * beside, rows) + note


def _cell(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)
