"""What the compatibility import adds to d2: functions and classes in detectron2's forms."""

import copy
import pickle
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from d2_config import get_cfg
from d2_data.transforms import HFlipTransform, NoOpTransform, RandomFlip
from d2_engine.compat.shims import (
    augmentation_calls,
    builtin_vocabularies,
    checkpoints,
    coco_evaluation,
    collectives,
    color_augmentation,
    colors,
    compiled_operators,
    dataclass_configs,
    dataset_filters,
    default_config,
    deformable_attention,
    dummies,
    file_io,
    flop_count,
    focal_loss_star,
    ground_truth_forms,
    grouped_batches,
    iterable_datasets,
    layer_wrappers,
    list_serialization,
    loader_benchmark,
    loader_parts,
    masks,
    older_layers,
    operator_counts,
    polynomial_schedule,
    precise_statistics,
    process_environment,
    schedules,
    script_setup,
    serialize,
    solver,
    target_names,
    testing,
    timing,
    tracing_state,
    unused_parameters,
    weight_init,
    window_attention,
)
from d2_structures import Boxes, Instances


def test_keys_added_to_the_default_config_are_in_every_new_one():
    default_config._C.MINE = 3
    try:
        cfg = default_config.get_cfg()
        assert cfg.MINE == 3
        cfg.MINE = 4
        assert default_config.get_cfg().MINE == 3
        assert "MINE" not in get_cfg()
    finally:
        del default_config._C.MINE


@dataclass
class Inner:
    size: int = 2


@dataclass
class Outer:
    inner: Inner = field(default_factory=Inner)
    several: list[Inner] = field(default_factory=lambda: [Inner(3)])


def test_dataclasses_are_described_by_their_names():
    described = dataclass_configs.dump_dataclass(Outer())
    assert described["_target_"].endswith("Outer")
    assert described["inner"]["size"] == 2
    assert described["several"][0]["size"] == 3
    with pytest.raises(TypeError, match="object of a dataclass"):
        dataclass_configs.dump_dataclass(Outer)


def test_masks_are_pasted_one_at_a_time_as_all_at_once():
    mask = torch.rand(28, 28)
    box = torch.tensor([3.0, 4, 30, 25])
    pasted = masks.paste_mask_in_image_old(mask, box, 40, 50, 0.5)
    from d2_modeling.layers import paste_masks_in_image

    assert torch.equal(pasted, paste_masks_in_image(mask[None], box[None], (40, 50), 0.5)[0])
    padded, scale = masks.pad_masks(torch.ones(1, 4, 4), 1)
    assert padded.shape == (1, 6, 6)
    assert scale == 1.5
    scaled = masks.scale_boxes(torch.tensor([[0.0, 0, 10, 20]]), 1.5)
    assert scaled.tolist() == [[-2.5, -5, 12.5, 25]]
    assert masks.polygon_area(np.array([0, 2, 2, 0]), np.array([0, 0, 3, 3])) == 6


def test_wrappers_do_what_is_left_to_do():
    assert layer_wrappers.shapes_to_tensor([2, 3]).tolist() == [2, 3]
    assert layer_wrappers.shapes_to_tensor([torch.tensor(2), 3]).tolist() == [2, 3]
    loss = layer_wrappers.empty_input_loss_func_wrapper(F.cross_entropy)
    nothing = torch.zeros(0, 3, requires_grad=True)
    loss(nothing, torch.zeros(0, dtype=torch.int64)).backward()
    scores, target = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    torch.testing.assert_close(loss(scores, target), F.cross_entropy(scores, target))
    assert layer_wrappers.move_device_like(scores, target).device == target.device


def test_compiled_functions_are_those_of_d2_ops():
    assert compiled_operators.get_compiler_version()
    assert compiled_operators.has_cuda() is (torch.version.cuda is not None)
    boxes = torch.tensor([[10.0, 10, 4, 2, 30], [10, 10, 4, 2, 30]])
    assert compiled_operators.box_iou_rotated(boxes, boxes)[0, 1] == pytest.approx(1, abs=1e-5)
    pooled = compiled_operators.roi_align_rotated_forward(
        torch.ones(1, 2, 8, 8), torch.tensor([[0.0, 4, 4, 4, 4, 0]]), 1.0, 3, 2, 2
    )
    assert pooled.shape == (1, 2, 3, 2)


def test_lists_and_samplers_become_streams_and_batches():
    numbers = list(range(10))
    stream = iterable_datasets.ToIterableDataset(numbers, [3, 1, 4])
    assert list(stream) == [3, 1, 4]
    assert len(stream) == 3
    with pytest.raises(TypeError, match="stream"):
        iterable_datasets.ToIterableDataset(stream, [])
    loader = loader_parts.build_batch_data_loader(numbers, [0, 1, 2, 3, 4], 2)
    assert list(loader) == [[0, 1], [2, 3]]
    collated = loader_parts.build_batch_data_loader(numbers, [0, 1, 2], 3, collate_fn=sum)
    assert list(collated) == [3]
    with pytest.raises(ValueError, match="cannot be shared"):
        loader_parts.build_batch_data_loader(numbers, [0], 0)


@pytest.mark.parametrize("workers", [0, 2])
def test_loading_processes_share_the_sampler(workers: int):
    loader = loader_parts.build_batch_data_loader(
        list(range(20)), list(range(20)), 2, num_workers=workers
    )
    assert sorted(number for batch in loader for number in batch) == list(range(20))


def test_wide_images_are_batched_with_wide_ones():
    images = [{"width": 2, "height": 1}, {"width": 1, "height": 2}] * 2
    loader = loader_parts.build_batch_data_loader(
        images, [0, 1, 2, 3], 2, aspect_ratio_grouping=True
    )
    assert [[entry["width"] for entry in batch] for batch in loader] == [[2, 2], [1, 1]]


def test_batches_hold_one_group_each():
    sampler = torch.utils.data.SequentialSampler(range(6))
    batches = grouped_batches.GroupedBatchSampler(sampler, [0, 1, 0, 1, 1, 1], 2)
    assert list(batches) == [[0, 2], [1, 3], [4, 5]]
    with pytest.raises(TypeError, match="torch Sampler"):
        grouped_batches.GroupedBatchSampler([0, 1], [0, 0], 2)


def test_the_parts_of_a_loader_are_timed():
    timed = loader_benchmark.DataLoaderBenchmark(
        [{"a": 1}] * 4, mapper=dict, sampler=[0, 1, 2, 3] * 5, total_batch_size=2
    )
    for seconds in (
        timed.benchmark_dataset(3, 1),
        timed.benchmark_mapper(3, 1),
        timed.benchmark_workers(3, 1),
        timed.benchmark_IPC(3, 1),
    ):
        assert seconds > 0


def test_packed_lists_hold_what_they_were_given():
    packed = list_serialization.NumpySerializedList([{"a": 1}, {"a": 2}])
    assert [entry["a"] for entry in (packed[0], packed[1])] == [1, 2]
    with list_serialization.set_default_dataset_from_list_serialize_method(dict):
        pass


def test_datasets_are_filtered():
    crowd = {"annotations": [{"iscrowd": 1}]}
    ordinary = {"annotations": [{"iscrowd": 0, "keypoints": [1, 1, 2, 3, 3, 0]}]}
    keep = dataset_filters.filter_images_with_only_crowd_annotations
    assert keep([crowd, ordinary]) == [ordinary]
    few = dataset_filters.filter_images_with_few_keypoints
    assert few([crowd, ordinary], 1) == [ordinary]
    assert few([ordinary], 2) == []


def test_augmentations_and_transforms_are_applied_in_order():
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    flipped, chosen = augmentation_calls.apply_augmentations(
        [RandomFlip(prob=1.0), NoOpTransform(), HFlipTransform(2)], image
    )
    assert (flipped == image).all()
    assert len(chosen.transforms) == 3
    with pytest.raises(TypeError, match="Augmentation or a Transform"):
        augmentation_calls._transform_to_aug(3)


def test_lists_of_categories_have_the_originals_form():
    coco = builtin_vocabularies.COCO_CATEGORIES
    assert len(coco) == 133
    assert coco[0] == {"color": [220, 20, 60], "isthing": 1, "id": 1, "name": "person"}
    assert sum(category["isthing"] for category in coco) == 80
    cityscapes = builtin_vocabularies.CITYSCAPES_CATEGORIES
    assert len(cityscapes) == 19
    assert cityscapes[0]["id"] == 7
    assert cityscapes[0]["trainId"] == 0
    lvis = builtin_vocabularies.LVIS_V1_CATEGORIES
    assert len(lvis) == 1203
    assert Counter(category["frequency"] for category in lvis) == {"f": 405, "c": 461, "r": 337}
    assert len(builtin_vocabularies.LVIS_V0_5_CATEGORIES) == 1230
    assert len(builtin_vocabularies.PASCAL_VOC_CLASS_NAMES) == 20
    assert len(builtin_vocabularies._get_coco_instances_meta()["thing_classes"]) == 80
    with pytest.raises(KeyError, match="no built-in metadata"):
        builtin_vocabularies._get_builtin_metadata("mine")


def test_the_official_evaluation_is_run_on_results():
    from pycocotools.coco import COCO

    truth = COCO()
    box = [10.0, 10, 20, 20]
    truth.dataset = {
        "images": [{"id": 1, "height": 50, "width": 50}],
        "categories": [{"id": 1, "name": "a"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": box, "area": 400, "iscrowd": 0}
        ],
        "info": {},
    }
    truth.createIndex()
    results = [{"image_id": 1, "category_id": 1, "bbox": box, "score": 0.5}]
    evaluated = coco_evaluation._evaluate_predictions_on_coco(
        truth, results, "bbox", img_ids=[1], max_dets_per_image=[1, 10, 100]
    )
    assert evaluated.stats[0] == pytest.approx(1.0)
    keypoints = [{"image_id": 1, "category_id": 1, "keypoints": [1.0, 1, 1], "score": 0.5}]
    with pytest.raises(ValueError, match="1 keypoints, and there are 17"):
        coco_evaluation._evaluate_predictions_on_coco(truth, keypoints, "keypoints")


def parameters(*sizes: int) -> list[nn.Parameter]:
    return [nn.Parameter(torch.ones(size)) for size in sizes]


@pytest.mark.parametrize("as_class", [True, False])
def test_gradients_are_clipped_as_a_config_says(as_class: bool):
    cfg = get_cfg()
    assert solver.maybe_add_gradient_clipping(cfg, torch.optim.SGD) is torch.optim.SGD
    cfg.SOLVER.CLIP_GRADIENTS.ENABLED = True
    cfg.SOLVER.CLIP_GRADIENTS.CLIP_VALUE = 0.5
    (weight,) = parameters(2)
    if as_class:
        optimizer = solver.maybe_add_gradient_clipping(cfg, torch.optim.SGD)([weight], lr=1.0)
        assert type(optimizer).__name__ == "SGDWithGradientClip"
    else:
        optimizer = solver.maybe_add_gradient_clipping(cfg, torch.optim.SGD([weight], lr=1.0))
    weight.grad = torch.tensor([3.0, -3.0])
    optimizer.step()
    assert weight.tolist() == [0.5, 1.5]


def test_parameter_groups_are_split_and_joined():
    a, b, c = parameters(1, 1, 1)
    groups = [{"params": [a, b], "lr": 1.0}, {"params": [c], "lr": 1.0}, {"params": [b], "lr": 2.0}]
    assert [g["lr"] for g in solver._expand_param_groups(groups)] == [1.0, 2.0, 1.0]
    joined = solver.reduce_param_groups(groups)
    assert [(g["lr"], len(g["params"])) for g in joined] == [(1.0, 2), (2.0, 1)]
    with pytest.raises(ValueError, match="'params'"):
        solver._expand_param_groups([{"lr": 1.0}])


def rates(make: Any, steps: int) -> list[float]:
    optimizer = torch.optim.SGD(parameters(1), lr=1.0)
    schedule = make(optimizer)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def test_older_schedules_warm_up_and_fall():
    steps = rates(
        lambda o: schedules.WarmupMultiStepLR(o, [3, 4], 0.1, warmup_factor=0.5, warmup_iters=2), 5
    )
    assert steps == pytest.approx([0.5, 0.75, 1.0, 0.1, 0.01])
    cosine = rates(lambda o: schedules.WarmupCosineLR(o, 4, warmup_iters=0), 4)
    assert cosine == pytest.approx([1.0, 0.5 + 0.5 * 0.5**0.5, 0.5, 0.5 - 0.5 * 0.5**0.5])
    with pytest.raises(ValueError, match="constant"):
        schedules._get_warmup_factor_at_iter("cubic", 0, 5, 0.1)
    with pytest.raises(ValueError, match="increase"):
        rates(lambda o: schedules.WarmupMultiStepLR(o, [4, 3]), 1)


def test_the_polynomial_schedule_ends_where_it_is_told():
    poly = rates(
        lambda o: polynomial_schedule.WarmupPolyLR(
            o, 10, warmup_iters=0, power=1.0, constant_ending=0.75
        ),
        5,
    )
    assert poly == pytest.approx([1.0, 0.9, 0.8, 0.75, 0.75])


@pytest.mark.parametrize("order", ["BGR", "RGB"])
def test_random_colours_change_images_and_nothing_else(order: str):
    transform = color_augmentation.ColorAugSSDTransform(order)
    image = np.random.default_rng(0).integers(0, 255, (8, 9, 3), dtype=np.uint8)
    changed = [transform.apply_image(image) for _ in range(20)]
    assert all(c.dtype == np.uint8 and c.shape == image.shape for c in changed)
    assert any((c != image).any() for c in changed)
    assert transform.apply_coords(3) == transform.apply_segmentation(3) == 3
    with pytest.raises(ValueError, match="knows the formats"):
        color_augmentation.ColorAugSSDTransform("HSV")


def test_names_of_weights_are_brought_together():
    state = {"module.a": 1, "module.b": 2}
    checkpoints._strip_prefix_if_present(state, "module.")
    assert state == {"a": 1, "b": 2}
    checkpoints._strip_prefix_if_present(state, "x.")
    assert set(state) == {"a", "b"}
    model = {"backbone.conv.weight": torch.zeros(2)}
    found = checkpoints.align_and_update_state_dicts(
        model, {"conv.weight": torch.ones(2), "other": torch.ones(1)}, c2_conversion=False
    )
    assert found["backbone.conv.weight"].tolist() == [1, 1]
    assert "other" in found
    assert checkpoints._IncompatibleKeys(["a"], [], []).missing_keys == ["a"]


def test_files_are_managed_by_prefixes(tmp_path: Path):
    class Upper(file_io.PathHandler):
        def _get_supported_prefixes(self) -> list[str]:
            return ["mine://"]

        def _get_local_path(self, path: str, force: bool = False, **kwargs: Any) -> str:
            return str(tmp_path / path.removeprefix("mine://"))

    manager = file_io.PathManagerBase()
    manager.register_handler(Upper())
    with pytest.raises(KeyError, match="mine://"):
        manager.register_handler(Upper())
    folder = tmp_path / "a" / "b"
    manager.mkdirs(folder)
    with manager.open(folder / "x.txt", "w") as file:
        file.write("text")
    assert manager.exists(folder)
    assert manager.isdir(folder)
    assert manager.ls(folder) == ["x.txt"]
    assert manager.isfile("mine://a/b/x.txt")
    assert manager.get_local_path("mine://a/b/x.txt") == str(folder / "x.txt")
    with manager.open("mine://a/b/x.txt") as file:
        assert file.read() == "text"
    with pytest.raises(OSError, match="does not write"):
        manager.open("mine://y", "w")
    assert manager.copy(str(folder / "x.txt"), str(folder / "y.txt"))
    assert not manager.copy(str(folder / "x.txt"), str(folder / "y.txt"))
    manager.rm(folder / "y.txt")
    assert not manager.exists(folder / "y.txt")


def test_the_shared_manager_knows_the_zoo_and_says_that_it_does_not_know_s3(tmp_path: Path):
    assert "detectron2://" in file_io.PathManager._handlers
    assert file_io.PathManagerFactory.get() is file_io.PathManager
    assert file_io.PathManagerFactory.get("mine") is file_io.PathManagerFactory.get("mine")
    file_io.PathManagerFactory.get("mine").register_handler(file_io.S3PathHandler(), True)
    with pytest.raises(OSError, match="does not read"):
        file_io.PathManagerFactory.get("mine").open("s3://bucket/x")
    direct = file_io.OneDrivePathHandler().create_one_drive_direct_download("https://1drv.ms/u/s!x")
    assert direct.startswith("https://api.onedrive.com/v1.0/shares/u!")


def test_lazy_paths_are_found_out_once_and_locks_are_held(tmp_path: Path):
    asked: list[int] = []
    path = file_io.LazyPath(lambda: asked.append(1) or str(tmp_path / "x"))
    with file_io.file_lock(path):
        assert (tmp_path / "x.lock").exists()
    assert path.endswith("x")
    assert asked == [1]


def test_downloads_are_kept_beside_what_is_there(tmp_path: Path):
    (tmp_path / "x.bin").write_text("there")
    assert file_io.download("https://example.invalid/x.bin", str(tmp_path)) == str(
        tmp_path / "x.bin"
    )


def test_colours_are_rgb_or_bgr_of_either_range():
    rgb = colors.colormap(rgb=True)
    assert rgb.dtype == np.float32
    assert rgb.max() > 1
    assert (colors.colormap()[:, ::-1] == rgb).all()
    assert colors.colormap(maximum=1).max() <= 1
    assert len({tuple(color) for color in colors.random_colors(10)}) == 10
    assert colors.random_color(rgb=True, maximum=1).shape == (3,)
    with pytest.raises(ValueError, match="maximum"):
        colors.colormap(maximum=2)


def test_handles_get_lists_of_inputs_and_outputs():
    model = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.ReLU())
    image = torch.zeros(1, 3, 8, 8)
    plain = operator_counts.FlopCountAnalysis(model, image).total()
    assert plain == 4 * 36 * 27
    counted = operator_counts.FlopCountAnalysis(model, image).set_op_handle(
        "aten::convolution", operator_counts.conv_flop_jit, **{"aten::relu": lambda i, o: 7}
    )
    assert counted.total() == plain + 7
    assert operator_counts.get_shape(image) == [1, 3, 8, 8]
    assert operator_counts.get_shape(3) is None
    linear = operator_counts.FlopCountAnalysis(nn.Linear(3, 5), torch.zeros(2, 3))
    assert linear.set_op_handle("aten::addmm", operator_counts.addmm_flop_jit).total() == 30


def test_operations_are_counted_in_one_call():
    model = nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 2))
    counted, _ = flop_count.flop_count(model, (torch.zeros(1, 3),))
    assert sum(counted.values()) == pytest.approx(25e-9)


def test_statistics_become_those_of_the_batches():
    norm = nn.BatchNorm1d(1)
    data = [torch.tensor([[0.0], [2.0]]), torch.tensor([[4.0], [6.0]])]
    assert precise_statistics.get_bn_modules(norm) == [norm]
    precise_statistics.update_bn_stats(norm, data, 2)
    assert norm.running_mean.item() == pytest.approx(3.0)
    assert norm.momentum == 0.1
    with pytest.raises(ValueError, match="ended after 2 of 3"):
        precise_statistics.update_bn_stats(norm, data, 3)
    assert precise_statistics.get_bn_modules(norm.eval()) == []


def test_unused_parameters_are_named():
    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.left = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))

        def forward(self, x: Any) -> Any:
            return {"loss": (self.used * x).sum()}

    assert unused_parameters.find_unused_parameters(Half(), torch.ones(1)) == ["left"]
    with pytest.raises(ValueError, match="training mode"):
        unused_parameters.find_unused_parameters(Half().eval(), torch.ones(1))


def test_the_same_seed_draws_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PYTHONHASHSEED", "0")
    drawn = []
    for _ in range(2):
        process_environment.seed_all_rng(5)
        drawn.append((np.random.rand(), torch.rand(1).item()))  # noqa: NPY002  # the global one
    assert drawn[0] == drawn[1]
    module = tmp_path / "environment.py"
    module.write_text("import os\ndef setup_environment():\n    os.environ['D2_SET'] = '1'\n")
    monkeypatch.setenv("D2_SET", "0")
    monkeypatch.setenv("DETECTRON2_ENV_MODULE", str(module))
    process_environment.setup_environment()
    import os

    assert os.environ["D2_SET"] == "1"
    assert process_environment.TORCH_VERSION >= (2, 10)


def test_keys_are_tried_in_order():
    cfg = get_cfg()
    assert script_setup._try_get_key(cfg, "OUTPUT_DIR", "train.output_dir") == cfg.OUTPUT_DIR
    assert script_setup._try_get_key({"train": {"seed": 3}}, "SEED", "train.seed") == 3
    assert script_setup._try_get_key({}, "x.y", default=4) == 4
    assert "mine" in script_setup._highlight("mine: 1", "x.yaml")


def test_functions_without_names_are_pickled():
    wrapped = serialize.PicklableWrapper(lambda x: x + 1)
    again = pickle.loads(pickle.dumps(serialize.PicklableWrapper(wrapped)))
    assert again(2) == 3
    assert copy.deepcopy(again)(3) == 4


def test_objects_are_named_by_the_shortest_name_that_finds_them():
    assert target_names._convert_target_to_string(nn.Conv2d) == "torch.nn.Conv2d"


def test_a_timer_counts_without_its_pauses():
    timer = timing.Timer()
    timer.pause()
    assert timer.is_paused()
    assert timer.seconds() == timer.seconds()
    with pytest.raises(ValueError, match="paused already"):
        timer.pause()
    timer.resume()
    with pytest.raises(ValueError, match="not paused"):
        timer.resume()
    assert timer.avg_seconds() <= timer.seconds()


def test_a_function_is_called_as_often_as_asked_for(capsys: pytest.CaptureFixture[str]):
    calls: list[int] = []
    timing.benchmark(
        lambda size: lambda: calls.append(size), "list", [{"size": 3}], num_iters=4, warmup_iters=2
    )
    assert calls == [3] * 6
    assert "4 calls" in capsys.readouterr().out


def test_weights_are_filled_as_caffe2_does():
    layer = nn.Conv2d(8, 16, 3)
    weight_init.c2_xavier_fill(layer)
    assert layer.weight.abs().max() <= (3 / 72) ** 0.5
    assert layer.bias.abs().sum() == 0
    weight_init.c2_msra_fill(layer)
    assert layer.weight.detach().std() == pytest.approx((2 / 144) ** 0.5, rel=0.2)


def test_norms_take_turns_and_share_their_weights():
    norms = older_layers.CycleBatchNormList(2, num_features=3).train()
    norms.weight.data.fill_(2.0)
    images = [torch.randn(4, 3, 5, 5), torch.randn(4, 3, 5, 5) * 10]
    outputs = [norms(image) for image in images]
    for output in outputs:
        assert output.detach().std() == pytest.approx(2.0, rel=0.05)
    assert norms[0].running_var.mean() < norms[1].running_var.mean()
    assert older_layers.LayerNorm(3)(images[0]).mean(dim=1).abs().max() < 1e-5


def test_deformable_convolutions_by_functions_are_plain_ones_without_offsets():
    x, weight = torch.randn(1, 4, 6, 6), torch.randn(2, 4, 3, 3)
    offset, mask = torch.zeros(1, 18, 6, 6), torch.ones(1, 9, 6, 6)
    wanted = F.conv2d(x, weight, padding=1)
    found = older_layers.deform_conv(x, offset, weight, padding=1)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    found = older_layers.modulated_deform_conv(x, offset, mask, weight, padding=1)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_predictions_are_put_in_the_order_of_anchors():
    tensor = torch.arange(2 * 6 * 2 * 3).view(2, 6, 2, 3)
    permuted = older_layers.permute_to_N_HWA_K(tensor, 3)
    assert permuted.shape == (2, 12, 3)
    assert permuted[0, 1].tolist() == tensor[0, 3:, 0, 0].tolist()
    buffers = older_layers.BufferList([torch.zeros(1), torch.ones(2)])
    assert len(buffers) == 2
    assert buffers.state_dict() == {}
    x, y = older_layers._create_grid_offsets((2, 3), 4, 0.5, torch.zeros(1))
    assert x.tolist() == [2, 6, 10] * 2
    assert y.tolist() == [2] * 3 + [6] * 3


def test_relative_positions_are_added():
    q = torch.randn(2, 6, 4)
    zero = window_attention.add_decomposed_rel_pos(
        torch.ones(2, 6, 6), q, torch.zeros(3, 4), torch.zeros(5, 4), (2, 3), (2, 3)
    )
    assert (zero == 1).all()


def test_annotations_are_drawn_by_functions():
    square = np.array([2.0, 2, 8, 2, 8, 8, 2, 8])
    drawn = ground_truth_forms.rasterize_polygons_within_box([square], [2, 2, 8, 8], 4)
    assert drawn.all()
    heatmap, valid = ground_truth_forms._keypoints_to_heatmap(
        torch.tensor([[[5.0, 5, 2]]]), torch.tensor([[0.0, 0, 10, 10]]), 4
    )
    assert heatmap.tolist() == [[10]]
    assert valid.tolist() == [[1]]
    proposals = Instances((10, 10), proposal_boxes=Boxes([[0, 0, 1, 1]]))
    proposals.objectness_logits = torch.zeros(1)
    joined = ground_truth_forms.add_ground_truth_to_proposals_single_image(
        Boxes([[1, 1, 2, 2]]), proposals
    )
    assert len(joined) == 2


def test_stand_ins_name_what_is_missing():
    dummy = dummies.create_dummy_class("Thing", "package", "Install it.")
    with pytest.raises(ImportError, match=r"Thing needs package.*Install it"):
        dummy()
    with pytest.raises(ImportError, match="Thing needs package"):
        dummy.attribute  # noqa: B018  # looked up for its error
    with pytest.raises(ImportError, match="function needs package"):
        dummies.create_dummy_func("function", "package")()


def test_nothing_is_traced_in_plain_code():
    assert not tracing_state._is_tracing()
    with pytest.raises(AssertionError, match="wrong"):
        tracing_state.assert_fx_safe(False, "wrong")


def test_one_process_has_all_there_is():
    tensor = torch.ones(2, requires_grad=True)
    assert collectives.differentiable_all_reduce(tensor) is tensor
    assert collectives.differentiable_all_gather(tensor) == [tensor]
    assert collectives.to_float_tensor(np.zeros((4, 5, 3), np.uint8)).shape == (1, 3, 4, 5)
    assert collectives.to_float_tensor(np.zeros((4, 5))).shape == (1, 1, 4, 5)


def test_the_other_focal_loss_weighs_ones():
    logits, targets = torch.tensor([0.0, 2.0]), torch.tensor([1.0, 0.0])
    plain = focal_loss_star.sigmoid_focal_loss_star(logits, targets)
    torch.testing.assert_close(
        plain, F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    )
    weighed = focal_loss_star.sigmoid_focal_loss_star(logits, targets, alpha=0.25, reduction="sum")
    torch.testing.assert_close(weighed, 0.25 * plain[0] + 0.75 * plain[1])


def test_small_things_for_tests():
    boxes = testing.random_boxes(5, 10)
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    assert testing.get_sample_coco_image().shape == (3, 480, 640)
    one = Instances((4, 5), pred_boxes=Boxes(boxes), scores=torch.ones(5))
    testing.assert_instances_allclose(one, one)
    other = Instances((4, 5), pred_boxes=Boxes(boxes), scores=torch.zeros(5))
    with pytest.raises(AssertionError, match="scores differs"):
        testing.assert_instances_allclose(one, other)


def test_the_compiled_attention_of_projects_is_that_of_d2_ops():
    torch.manual_seed(0)
    shapes = torch.tensor([[3, 4], [2, 2]])
    value = torch.randn(1, 16, 2, 4)
    locations, weights = torch.rand(1, 3, 2, 2, 2, 2), torch.rand(1, 3, 2, 2, 2)
    tensors = value, shapes, torch.tensor([0, 12]), locations, weights
    output = deformable_attention.ms_deform_attn_forward(*tensors, 64)
    assert output.shape == (1, 3, 8)
    grads = deformable_attention.ms_deform_attn_backward(*tensors, torch.ones_like(output), 64)
    assert [grad.shape for grad in grads] == [t.shape for t in (value, locations, weights)]
    slope = deformable_attention.ms_deform_attn_forward(
        value, shapes, tensors[2], locations, weights * 2, 64
    )
    torch.testing.assert_close((grads[2] * weights).sum(), (slope - output).sum())
