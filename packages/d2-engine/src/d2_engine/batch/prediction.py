"""One batch of predictions, divided among workers that may die."""

import json
import logging
import os
import pickle
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from d2_config.files import remove_leftovers, write_atomically
from d2_engine.batch.extra import import_extra
from d2_engine.batch.output import count_part, part_file
from d2_engine.batch.parts import Part, find_parts, fingerprint
from d2_engine.batch.worker import MakePredictor, Worker
from d2_eval.live import ProgressBar

MANIFEST = "batch.json"


@attrs.define
class Predicted:
    """What a batch came to.

    Attributes:
        pictures: all that are in the output folder now.
        failed: those of them with which nothing could be done; their rows say why.
        parts: files of the output.
        kept_parts: files that were there already.
    """

    pictures: int = 0
    failed: int = 0
    parts: int = 0
    kept_parts: int = 0

    def add(self, counts: Mapping[str, int]) -> None:
        """Count the pictures of a part."""
        self.pictures += int(counts["pictures"])
        self.failed += int(counts["failed"])


def predict(
    words: Iterable[str],
    folder: str | os.PathLike[str],
    make_predictor: MakePredictor,
    *,
    model: str = "",
    workers: int = 1,
    cpus_per_worker: int = 1,
    gpus_per_worker: float | None = None,
    pictures_per_part: int = 256,
    confidence: float = 0.05,
    column: str | None = None,
    address: str | None = None,
) -> Predicted:
    """Predict on any number of pictures with Ray Data; writes Parquet.

    Pictures are divided into parts. A worker does a part whole: its file ``part-NNNNNN.parquet``
    appears when the part is done, and the part of a worker that died is done again by another. So
    each picture is in the output once, and the same call goes on where an earlier one ended.

    Args:
        words: see :func:`~d2_engine.batch.parts.find_parts`.
        folder: of the output; every worker has to see it, and the pictures, under the same path.
        make_predictor: called once in each worker; must be picklable.
        model: says which model it is; another one is not mixed with what the folder has.
        workers: processes with a model each.
        cpus_per_worker: threads of each.
        gpus_per_worker: by default 1 where the cluster has GPUs; a share lets workers have one in
            common.
        pictures_per_part: what is lost at most when a worker dies; a shard is a part of its own.
        confidence: the lowest score of instances that are kept.
        column: with the paths, of Parquet files.
        address: of a running cluster; by default ``$RAY_ADDRESS``, else Ray is started on this
            machine, and ended.

    Raises:
        ImportError: if Ray or pyarrow is not installed; names the extra.
        FileNotFoundError, ValueError: if there are no pictures, or the folder holds the output of
            others.
    """
    ray = import_extra("ray")
    import_extra("ray.data")
    import_extra("pyarrow.parquet")
    if workers < 1:
        raise ValueError(f"workers is at least 1, got {workers}")
    folder = Path(folder).absolute()
    parts = find_parts([os.path.abspath(word) for word in words], pictures_per_part, column=column)
    _claim(folder, {"parts": fingerprint(parts), "model": model, "confidence": confidence})
    missing = []
    result = Predicted(parts=len(parts))
    for part in parts:
        path = part_file(folder, part.number)
        if path.is_file():
            result.add(count_part(path))
            result.kept_parts += 1
        else:
            missing.append(part)
    if missing:
        arguments = (make_predictor, str(folder), confidence, cpus_per_worker)
        with _connected(ray, address, workers * cpus_per_worker):
            if gpus_per_worker is None:
                gpus_per_worker = 1 if ray.cluster_resources().get("GPU") else 0
            resources = {"num_cpus": cpus_per_worker, "num_gpus": gpus_per_worker}
            with ProgressBar("predict", len(missing), unit="part") as bar:
                for counts in _done(ray, missing, arguments, workers, resources):
                    result.add(counts)
                    bar.advance()
    return result


def _claim(folder: Path, what: dict[str, Any]) -> None:
    """Note in an empty folder what is written there; refuse a folder with something else."""
    manifest = folder / MANIFEST
    if manifest.is_file():
        noted = json.loads(manifest.read_text(encoding="utf-8"))
        changed = [name for name, value in what.items() if noted.get(name) != value]
        if changed:
            raise ValueError(
                f"{folder} holds predictions that were begun with other {' and '.join(changed)}: "
                "repeat that command to go on with it, or choose another folder"
            )
        remove_leftovers(folder)
        return
    if folder.is_dir() and next(folder.glob("part-*.parquet"), None) is not None:
        raise ValueError(f"{folder} has part-*.parquet of something else: choose another folder")
    write_atomically(manifest, json.dumps(what, indent=1))


@contextmanager
def _connected(ray: Any, address: str | None, cpus: int) -> Iterator[None]:
    """Have Ray in the block: the one that is connected, a cluster's, or one of this machine."""
    if ray.is_initialized():
        yield
        return
    address = address or os.environ.get("RAY_ADDRESS")
    own = {"num_cpus": max(cpus, os.cpu_count() or 1), "include_dashboard": False}
    ray.init(
        address=address,
        **({} if address else own),
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    try:
        yield
    finally:
        ray.shutdown()


def _done(
    ray: Any,
    parts: list[Part],
    arguments: tuple[Any, ...],
    workers: int,
    resources: dict[str, float],
) -> Iterator[dict[str, int]]:
    """Give the counts of parts as they become ready."""
    with warnings.catch_warnings():
        # Ray Data reads settings of its own that it calls deprecated.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        ray.data.DataContext.get_current().enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        dataset = ray.data.from_items(
            [{"part": pickle.dumps(part)} for part in parts],
            override_num_blocks=len(parts),
        ).map(
            Worker,
            fn_constructor_args=arguments,
            compute=ray.data.ActorPoolStrategy(size=min(workers, len(parts))),
            **resources,
        )
        yield from dataset.iter_rows()
