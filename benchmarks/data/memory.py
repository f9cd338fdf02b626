"""Memory of a large dataset in several processes with several workers each, and time to pack it.

One million annotations of polygons in a COCO file, two processes as of a distributed run, four
workers in each. What counts is the proportional set size of all ten processes: memory that n of
them share counts 1/n in each. Programs and libraries are left out, which have nothing to do with
the dataset and are shared with whatever else runs on the machine. That of the same processes with
a hundred records is subtracted.

    PYTHONPATH=benchmarks python benchmarks/data/memory.py [--annotations 1000000]

The second table packs 118 287 records with 860 001 annotations beside what a pickle of each record
costs, on one thread.
"""

import argparse
import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch.distributed as dist
from _paired import RESULTS, environment

from d2_data import DatasetFromList, build_detection_train_loader, shared_detection_dataset
from d2_data.datasets import register_coco_instances
from d2_structures import BoxMode, comm

RANKS, WORKERS, PASSES = 2, 4, 3


def records(images: int, annotations: int) -> list[dict[str, Any]]:
    """Records as of COCO: polygons of about twenty points with two decimals."""
    draw = np.random.default_rng(0)
    counts = draw.multinomial(annotations, draw.dirichlet(np.full(images, 0.9)))
    points = np.clip(draw.lognormal(3.55, 0.6, annotations), 6, 600).astype(int) // 2 * 2
    numbers = iter(range(annotations))

    def annotation() -> dict[str, Any]:
        number = next(numbers)
        return {
            "iscrowd": 0,
            "bbox": np.round(draw.uniform(0, 480, 4), 2).tolist(),
            "category_id": number % 80,
            "segmentation": [np.round(draw.uniform(0, 640, points[number]), 2).tolist()],
            "bbox_mode": BoxMode.XYWH_ABS,
        }

    return [
        {
            "file_name": f"datasets/coco/train2017/{index:012d}.jpg",
            "height": 480,
            "width": 640 if index % 3 else 400,
            "image_id": index,
            "annotations": [annotation() for _ in range(count)],
        }
        for index, count in enumerate(counts.tolist())
    ]


def write_coco(path: Path, images: int, annotations: int) -> None:
    """The records as a COCO file."""
    entries: list[dict[str, Any]] = []
    pictures = []
    for record in records(images, annotations):
        pictures.append(
            {key: record[key] for key in ("file_name", "height", "width")}
            | {"id": record["image_id"]}
        )
        for annotation in record["annotations"]:
            del annotation["bbox_mode"]
            place = {"image_id": record["image_id"], "id": len(entries) + 1, "area": 100.5}
            entries.append(annotation | place)
    categories = [{"id": number, "name": f"class {number}"} for number in range(80)]
    path.write_text(
        json.dumps({"images": pictures, "annotations": entries, "categories": categories})
    )


def proportional_set_size(processes: list[int]) -> int:
    """Bytes of memory, what is shared divided among those that share it."""
    total = 0
    for process in processes:
        counts = True
        for line in Path(f"/proc/{process}/smaps").read_text().splitlines():
            name, *rest = line.split(maxsplit=5)
            if not name.endswith(":"):  # the first line of a mapping, with its file
                file = rest[4] if len(rest) == 5 else ""
                counts = not file.startswith("/") or "/d2-records-" in file
            elif name == "Pss:" and counts:
                total += int(rest[0]) * 1024
    return total


def rank(number: int, json_file: str, images: int) -> None:
    """One process of the run; says how large it is whenever a line arrives."""
    warnings.simplefilter("ignore")  # torch counts the cores
    place = Path(json_file).with_name("meeting")
    dist.init_process_group("gloo", f"file://{place}", rank=number, world_size=RANKS)
    comm.create_local_process_group(RANKS)
    register_coco_instances("many", {}, json_file, "")
    begin = time.perf_counter()
    dataset = shared_detection_dataset("many", filter_empty=False)
    seconds = time.perf_counter() - begin
    loader = build_detection_train_loader(
        dataset,
        mapper=lambda record: len(record["annotations"]),
        total_batch_size=4 * RANKS,
        num_workers=WORKERS,
        persistent_workers=True,
        seed=0,
    )
    batches = iter(loader)
    print(json.dumps({"copy": dataset.nbytes, "seconds": seconds}), flush=True)
    for _ in range(PASSES):
        sys.stdin.readline()
        for _ in range(images // (4 * RANKS)):
            next(batches)
        print(json.dumps({"done": True}), flush=True)
        sys.stdin.readline()
        workers = [worker.pid for worker in loader._iterator._workers]
        size = proportional_set_size([os.getpid(), *workers])
        print(json.dumps({"size": size}), flush=True)
    sys.stdin.readline()
    dist.destroy_process_group()


def measure(images: int, annotations: int) -> tuple[int, list[int]]:
    """The size of one copy, and of all processes together after each pass over the dataset."""
    with tempfile.TemporaryDirectory() as folder:
        json_file = Path(folder, "many.json")
        # Apart from the run, which is not to have been larger than it needs to be.
        subprocess.run(
            [sys.executable, __file__, "--write", json_file, str(images), str(annotations)],
            check=True,
        )
        command = [sys.executable, __file__, "--rank"]
        ranks = [
            subprocess.Popen(
                [*command, str(number), json_file, str(images)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for number in range(RANKS)
        ]

        def ask(key: str, first: bool = False) -> Iterator[int]:
            if not first:
                for process in ranks:
                    print(file=process.stdin, flush=True)
            for process in ranks:
                yield json.loads(process.stdout.readline())[key]

        copy = max(ask("copy", first=True))
        sizes = []
        for _ in range(PASSES):
            list(ask("done"))
            sizes.append(sum(ask("size")))
        for process in ranks:
            process.stdin.close()
            process.wait()
    return copy, sizes


def time_of_packing() -> dict[str, float]:
    """Seconds and mebibytes to pack, microseconds to get a record; ours and pickled."""
    elements = records(118_287, 860_001)
    begin = time.process_time()
    dataset = DatasetFromList(elements)
    packed = time.process_time()
    pickled = [pickle.dumps(element, protocol=pickle.HIGHEST_PROTOCOL) for element in elements]
    joined = np.concatenate([np.frombuffer(content, np.uint8) for content in pickled])
    plain = time.process_time()
    order = np.random.default_rng(0).integers(len(elements), size=20_000).tolist()
    figures = {
        "pack": packed - begin,
        "pickle": plain - packed,
        "packed_mib": dataset.nbytes / 2**20,
        "pickled_mib": joined.nbytes / 2**20,
    }
    del elements
    for name, get in (
        ("get_packed", dataset.__getitem__),
        ("get_pickled", lambda index: pickle.loads(pickled[index])),
    ):
        begin = time.process_time()
        for index in order:
            get(index)
        figures[name] = (time.process_time() - begin) / len(order)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--annotations", type=int, default=1_000_000)
    parser.add_argument("--rank", nargs=3)
    parser.add_argument("--write", nargs=3)
    arguments = parser.parse_args()
    if arguments.rank:
        number, json_file, images = arguments.rank
        rank(int(number), json_file, int(images))
        return
    if arguments.write:
        json_file, images, annotations = arguments.write
        write_coco(Path(json_file), int(images), int(annotations))
        return
    _, without = measure(100, 700)
    copy, sizes = measure(int(arguments.annotations / 7.27), arguments.annotations)
    mebibyte = 2**20
    print(f"one copy {copy / mebibyte:.0f} MiB; {RANKS} processes with {WORKERS} workers each")
    ratios = []
    for number, (size, base) in enumerate(zip(sizes, without, strict=True), start=1):
        ratios.append((size - base) / copy)
        print(
            f"pass {number}: {size / mebibyte:.0f} MiB in all, {base / mebibyte:.0f} MiB without "
            f"the dataset: {ratios[-1]:.2f} copies"
        )
    figures = time_of_packing()
    print(
        f"118 k records: packed in {figures['pack']:.1f} s to {figures['packed_mib']:.0f} MiB "
        f"(pickled {figures['pickle']:.1f} s, {figures['pickled_mib']:.0f} MiB); a record in "
        f"{figures['get_packed'] * 1e6:.0f} µs (pickled {figures['get_pickled'] * 1e6:.0f} µs)"
    )
    record = {
        "topic": "data-memory",
        "annotations": arguments.annotations,
        "copy_bytes": copy,
        "pss_bytes": sizes,
        "pss_bytes_without": without,
        "copies": ratios,
        "packing": figures,
        "environment": environment(),
    }
    (RESULTS / "data-memory.json").write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
