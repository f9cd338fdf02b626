"""A page that shows how good predictions are, and what is wrong with them."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from d2_config.files import write_atomically
from d2_data import Metadata, MetadataCatalog
from d2_eval import CocoGroundTruth
from d2_eval.coco.ground_truth import as_ground_truth
from d2_eval.coco.result_files import read_results
from d2_eval.report.analysis.compared import Compared, ReportTask, task_of
from d2_eval.report.analysis.label_errors import suspicions
from d2_eval.report.changes import changed_objects
from d2_eval.report.examples import Example, choose_examples, drawn_examples
from d2_eval.report.image_files import find_images
from d2_eval.report.label_error_files import write_label_errors
from d2_eval.report.page import assemble
from d2_eval.report.run_figures import MeasuredRun, all_figures

PAGE = "index.html"
FIGURES = "figures.json"

_MOST_PICTURE_BYTES = 20_000_000

Results = Sequence[dict[str, Any]] | str | os.PathLike[str]
Dataset = CocoGroundTruth | Metadata | str | os.PathLike[str]


def write(
    folder: str | os.PathLike[str],
    ground_truth: Dataset,
    predictions: Results,
    *,
    compare_with: Results | None = None,
    names: tuple[str, str] = ("this run", "the other run"),
    title: str = "Evaluation",
    task: ReportTask | None = None,
    image_root: str | os.PathLike[str] | None = None,
    confidence: float | None = None,
    most_pictures: int = 480,
    kpt_oks_sigmas: Sequence[float] = (),
) -> Path:
    """Write ``index.html``, a page that needs no network and nothing beside it.

    It shows COCO's figures with 95 % intervals; precision over recall; average precision by class,
    size, aspect and number of objects; calibration; which classes are taken for which; the average
    precision that each kind of error costs; the worst errors as pictures; and annotations that may
    be wrong. Those also become files to mend them from: ``label_errors.json`` (COCO's format),
    ``label_errors_cvat.xml`` (CVAT for images 1.1) and the folder ``label_errors_fiftyone``
    (``FiftyOneImageDetectionDataset``). ``figures.json`` holds the page's numbers.

    Args:
        folder: made where it is missing. Files of these names are replaced.
        ground_truth: a COCO annotation file, a dataset's name or its ``Metadata``.
        predictions: entries of COCO's result format with the annotations' ids, or a file of them.
        compare_with: predictions of another run for the same annotations. Differences get paired
            intervals: both runs are evaluated on the same images, drawn anew.
        names: of the two runs.
        title: of the page.
        task: ``"segm"`` compares masks, ``"bbox"`` boxes; by default masks where there are any.
        image_root: the folder of the images; by default the dataset's, or what is found beside
            the annotation file. Objects of images that are not found are drawn on empty sheets.
        confidence: predictions with a lower score stay out of pictures and confusions; by default
            that from which on F1 is best.
        most_pictures: of errors, at most so many, and never more than the page has room for
            (20 MB); 0 leaves out all pictures.
        kpt_oks_sigmas: per keypoint the tolerance of COCO's similarity.

    Returns:
        The path of the page.

    Raises:
        FileNotFoundError: if a file, or ``image_root``, does not exist.
        ValueError: if predictions and annotations do not belong together, there are no annotations,
            or an argument is none of those above.
    """
    _check(task, confidence, most_pictures)
    if image_root is not None and not Path(image_root).is_dir():
        raise FileNotFoundError(f"there is no folder of images {os.fspath(image_root)!r}")
    truth = _load(ground_truth)
    run = _measured(names[0], truth, predictions, task, kpt_oks_sigmas)
    other = None
    if compare_with is not None:
        other = _measured(names[1], truth, compare_with, run.task, kpt_oks_sigmas)
    at = run.best_confidence() if confidence is None else confidence
    shown = run.outcome(at)
    figures = all_figures(run, other, at, shown) | {"title": title, "dataset": truth.name}

    annotation_file, root = _places(ground_truth, image_root)
    paths = find_images(run.both.images, annotation_file, root)
    suspected = suspicions(run.both, run.pairs, run.errors, at)
    target = Path(folder)
    files = write_label_errors(target, run.both, suspected, paths)
    examples = choose_examples(run.both, run.errors, shown, suspected, most_pictures)
    if other is not None:
        changed, figures["changes"] = changed_objects(run, other, shown)
        examples += changed if most_pictures else []
    figures["suspicions"] = dict(Counter(one.kind for one in suspected))
    figures["files"] = files
    write_atomically(target / FIGURES, json.dumps(figures, indent=1))
    page = assemble(
        figures
        | {
            "examples": [
                _described(other if one.of_other and other else run, one) for one in examples
            ],
            "images_found": len(paths),
        },
        drawn_examples(
            run.both, None if other is None else other.both, examples, paths, _MOST_PICTURE_BYTES
        ),
    )
    write_atomically(target / PAGE, page)
    return target / PAGE


def _check(task: str | None, confidence: float | None, most_pictures: int) -> None:
    if task not in (None, "bbox", "segm"):
        raise ValueError(f"task is 'bbox' or 'segm', got {task!r}")
    if confidence is not None and not confidence >= 0:
        raise ValueError(f"confidence is a score from 0 on, got {confidence!r}")
    if most_pictures < 0:
        raise ValueError(f"most_pictures is at least 0, got {most_pictures}")


def _load(dataset: Dataset) -> CocoGroundTruth:
    truth = as_ground_truth(dataset)
    truth.check_has_annotations(truth.name)
    return truth


def _measured(
    name: str,
    truth: CocoGroundTruth,
    results: Results,
    task: ReportTask | None,
    kpt_oks_sigmas: Sequence[float],
) -> MeasuredRun:
    if not isinstance(results, str | os.PathLike):
        return MeasuredRun.of(name, truth, results, task or task_of(results), kpt_oks_sigmas)
    entries = read_results(Path(results))
    try:
        return MeasuredRun.of(name, truth, entries, task or task_of(entries), kpt_oks_sigmas)
    except ValueError as error:
        error.add_note(f"results are counted from 0 in {os.fspath(results)!r}")
        raise


def _places(
    dataset: Dataset, image_root: str | os.PathLike[str] | None
) -> tuple[Path | None, str | os.PathLike[str] | None]:
    """The annotation file and the folder of the images, as far as they are known."""
    metadata = dataset if isinstance(dataset, Metadata) else None
    if isinstance(dataset, str) and dataset in MetadataCatalog.list():
        metadata = MetadataCatalog.get(dataset)
    if metadata is not None:
        json_file = metadata.get("json_file")
        root = metadata.get("image_root") if image_root is None else image_root
        return None if json_file is None else Path(json_file), root
    if isinstance(dataset, CocoGroundTruth):
        return None, image_root
    return Path(dataset), image_root


def _described(run: MeasuredRun, one: Example) -> dict[str, Any]:
    """What the page says below a picture."""
    both: Compared = run.both
    image: Mapping[str, Any] = both.images[one.image]
    about: dict[str, Any] = {
        "kind": one.kind,
        "image": Path(str(image.get("file_name", image["id"]))).name,
        "truth": int(both.truths.classes[one.truth]) if one.truth >= 0 else -1,
        "found": int(both.detections.classes[one.detection]) if one.detection >= 0 else -1,
        "cell": one.cell,
        "suspicion": one.suspicion,
    }
    if one.detection >= 0:
        about["score"] = round(float(both.detections.scores[one.detection]), 3)
        about["overlap"] = round(float(run.errors.overlaps[one.detection]), 2)
    if one.truth >= 0:
        about["annotation"] = both.truths.ids[one.truth]
    return about
