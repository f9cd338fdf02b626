"""What Panoptic-DeepLab makes of classes, centres and offsets, against loops over pixels."""

from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from d2_config import get_cfg
from d2_modeling import BACKBONE_REGISTRY, ShapeSpec, build_model
from d2_modeling.backbone import Backbone
from d2_modeling.export import output_kind
from d2_modeling.panoptic_deeplab import (
    PanopticDeepLab,
    add_panoptic_deeplab_config,
    build_ins_embed_branch,
    find_instance_center,
    get_panoptic_segmentation,
)

HEIGHT, WIDTH = 6, 7
DIVISOR = 100
VOID = -1
SEEDS = st.integers(0, 10**6)


def slow_centres(heat: Tensor, threshold: float, kernel: int, top_k: int | None) -> list[list[int]]:
    """Peaks in reading order: above the threshold, and nowhere lower within their window."""
    height, width = heat.shape
    values = [[x if x > threshold else -1.0 for x in row] for row in heat.tolist()]
    reach = kernel // 2
    peaks = []
    for row in range(height):
        for column in range(width):
            window = [
                values[y][x]
                for y in range(max(row - reach, 0), min(row + reach + 1, height))
                for x in range(max(column - reach, 0), min(column + reach + 1, width))
            ]
            if values[row][column] > 0 and values[row][column] == max(window):
                peaks.append([row, column])
    if top_k is not None and len(peaks) >= top_k:
        floor = sorted((values[row][column] for row, column in peaks), reverse=True)[top_k - 1]
        peaks = [[row, column] for row, column in peaks if values[row][column] > floor]
    return peaks


def random_heat(seed: int, levels: int) -> Tensor:
    """Of so many different heights that some windows hold equal ones."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, levels, (HEIGHT, WIDTH), generator=generator).double() / levels


@settings(deadline=None, max_examples=60)
@given(
    SEEDS,
    st.sampled_from([4, 1000]),
    st.sampled_from([0.0, 0.3, 0.9]),
    st.sampled_from([1, 3, 5, 7]),
    st.sampled_from([None, 1, 3, 200]),
)
def test_centres_are_the_peaks_that_a_search_finds(
    seed: int, levels: int, threshold: float, kernel: int, top_k: int | None
) -> None:
    heat = random_heat(seed, levels)
    found = find_instance_center(heat[None], threshold, kernel, top_k)
    assert found.dtype == torch.int64
    assert found.tolist() == slow_centres(heat, threshold, kernel, top_k)


def slowly_segmented(
    sem_seg: Tensor,
    centres: list[list[int]],
    offsets: Tensor,
    things: set[int],
    stuff_area: int,
    is_foreground: Tensor | None,
) -> Tensor:
    """Each thing's pixel goes to the centre that it points nearest to, all by majority."""
    members: dict[int, list[tuple[int, int]]] = {}
    panoptic = torch.full((HEIGHT, WIDTH), VOID)
    for row in range(HEIGHT):
        for column in range(WIDTH):
            label = int(sem_seg[row, column])
            is_thing = (
                label in things if is_foreground is None else bool(is_foreground[row, column])
            )
            if not is_thing or not centres:
                continue
            y = row + float(offsets[0, row, column])
            x = column + float(offsets[1, row, column])
            distances = [(r - y) ** 2 + (c - x) ** 2 for r, c in centres]
            members.setdefault(distances.index(min(distances)), []).append((row, column))
    counts: Counter[int] = Counter()
    taken = set()
    for number in sorted(members):
        votes = Counter(int(sem_seg[pixel]) for pixel in members[number])
        label = min(k for k, votes_of in votes.items() if votes_of == max(votes.values()))
        counts[label] += 1
        for pixel in members[number]:
            panoptic[pixel] = label * DIVISOR + counts[label]
            taken.add(pixel)
    for label in set(sem_seg.flatten().tolist()) - things:
        pixels = [
            (row, column)
            for row, column in (sem_seg == label).nonzero().tolist()
            if (row, column) not in taken
        ]
        if len(pixels) >= stuff_area:
            for pixel in pixels:
                panoptic[pixel] = label * DIVISOR
    return panoptic


@settings(deadline=None, max_examples=60)
@given(
    SEEDS,
    st.sets(st.integers(0, 4)),
    st.sampled_from([0, 1, 5, 100]),
    st.sampled_from([0.3, 0.95, 2.0]),
    st.booleans(),
)
def test_segments_are_those_of_a_loop_over_pixels(
    seed: int, things: set[int], stuff_area: int, threshold: float, masked: bool
) -> None:
    generator = torch.Generator().manual_seed(seed)
    sem_seg = torch.randint(0, 4, (HEIGHT, WIDTH), generator=generator)
    heat = random_heat(seed + 1, 1000)
    offsets = 3 * torch.randn(2, HEIGHT, WIDTH, generator=generator, dtype=torch.float64)
    foreground = torch.rand(HEIGHT, WIDTH, generator=generator) < 0.5 if masked else None
    panoptic, centres = get_panoptic_segmentation(
        sem_seg[None],
        heat[None],
        offsets,
        thing_ids=things,
        label_divisor=DIVISOR,
        stuff_area=stuff_area,
        void_label=VOID,
        threshold=threshold,
        nms_kernel=3,
        top_k=None,
        foreground_mask=None if foreground is None else foreground[None],
    )
    wanted_centres = slow_centres(heat, threshold, 3, None)
    assert centres[0].tolist() == wanted_centres
    assert panoptic.shape == (1, HEIGHT, WIDTH)
    wanted = slowly_segmented(sem_seg, wanted_centres, offsets, things, stuff_area, foreground)
    assert panoptic[0].tolist() == wanted.tolist()


def test_classes_that_are_things_may_come_from_a_dict() -> None:
    ids = {11: 1, 12: 3}
    heat = torch.zeros(1, 4, 4)
    heat[0, 1, 1] = 0.9
    results = [
        get_panoptic_segmentation(
            torch.full((1, 4, 4), 3),
            heat,
            torch.zeros(2, 4, 4),
            thing_ids=things,
            label_divisor=DIVISOR,
            stuff_area=1,
            void_label=VOID,
        )[0]
        for things in (ids.values(), [1, 3], {3})
    ]
    assert (results[0] == 301).all()
    assert all(torch.equal(result, results[0]) for result in results)


class Maps(Backbone):
    """Gives the images themselves, whose channels the heads read."""

    size_divisibility = 4

    def __init__(self) -> None:
        super().__init__()
        self._out_features = ["image"]
        self._out_feature_strides = {"image": 1}
        self._out_feature_channels = {"image": 6}

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"image": x}


class Classes(nn.Module):
    """The first three channels are the logits."""

    ignore_value = 255

    def __init__(self) -> None:
        super().__init__()
        self.asked: Any = None

    def forward(self, features: Any, targets: Any = None, weights: Any = None) -> Any:
        self.asked = targets, weights
        if self.training:
            return None, {"loss_sem_seg": features["image"].mean()}
        return features["image"][:, :3], {}


class Centres(nn.Module):
    """Another channel is the heat map, the last two are the offsets."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: Any = None

    def forward(self, features: Any, *targets: Any) -> Any:
        self.asked = targets
        if self.training:
            zero = features["image"].mean()
            return None, None, {"loss_center": zero}, {"loss_offset": zero}
        return features["image"][:, 3:4], features["image"][:, 4:], {}, {}


def model(**options: Any) -> PanopticDeepLab:
    given: dict[str, Any] = {"thing_ids": [1, 2], "stuff_area": 1, "label_divisor": DIVISOR}
    return PanopticDeepLab(
        backbone=Maps(),
        sem_seg_head=Classes(),
        ins_embed_head=Centres(),
        pixel_mean=[0.0] * 6,
        pixel_std=[1.0] * 6,
        **{**given, **options},
    )


def scene() -> Tensor:
    """Two things of class 1 and one of class 2 on stuff of class 0, of 12 by 14 pixels."""
    maps = torch.zeros(6, 12, 14)
    labels = torch.zeros(12, 14, dtype=torch.int64)
    rows, columns = torch.arange(12.0)[:, None], torch.arange(14.0)[None]
    for label, y, x, reach in ((1, 2, 2, 2), (1, 2, 10, 1), (2, 8, 6, 3)):
        inside = ((rows - y).abs() <= reach) & ((columns - x).abs() <= reach)
        labels[inside] = label
        maps[3, y, x] = 0.9 - 0.1 * label
        maps[4][inside] = (y - rows).expand(12, 14)[inside]
        maps[5][inside] = (x - columns).expand(12, 14)[inside]
    maps[:3] = 4.0 * nn.functional.one_hot(labels, 3).permute(2, 0, 1)
    return maps


def test_things_are_instances_with_mask_box_and_score() -> None:
    (result,) = model().eval()([{"image": scene()}])
    assert torch.equal(result["sem_seg"], scene()[:3])
    panoptic, nothing = result["panoptic_seg"]
    assert nothing is None
    assert sorted(panoptic.unique().tolist()) == [0, 101, 102, 201]
    found = result["instances"]
    assert found.image_size == (12, 14)
    assert found.pred_classes.tolist() == [1, 1, 2]
    boxes = [[0, 0, 5, 5], [9, 1, 12, 4], [3, 5, 10, 12]]
    assert found.pred_boxes.tensor.tolist() == boxes
    # Of three logits the own one is 4, the others 0.
    sure = torch.tensor(4.0).exp() / (torch.tensor(4.0).exp() + 2)
    torch.testing.assert_close(found.scores, sure * torch.tensor([0.8, 0.8, 0.7]))
    for mask, number in zip(found.pred_masks, (101, 102, 201), strict=True):
        assert torch.equal(mask, panoptic == number)


def test_images_of_other_sizes_are_padded_and_cropped_again() -> None:
    whole = scene()
    small = whole[:, :6, :13]
    (alone,) = model().eval()([{"image": small}])
    first, second = model().eval()([{"image": whole}, {"image": small}])
    assert first["panoptic_seg"][0].shape == (12, 14)
    assert second["panoptic_seg"][0].shape == (6, 13)
    assert torch.equal(second["panoptic_seg"][0], alone["panoptic_seg"][0])
    assert torch.equal(second["sem_seg"], small[:3])


def test_no_things_are_no_instances() -> None:
    image = scene()
    image[1:3] = 0.0
    (result,) = model().eval()([{"image": image}])
    assert "instances" not in result
    assert result["panoptic_seg"][0].unique().tolist() == [0]
    (result,) = model(thing_ids=[]).eval()([{"image": scene()}])
    assert "instances" not in result
    assert result["panoptic_seg"][0].unique().tolist() == [0, 100, 200]


def test_small_stuff_and_things_without_a_centre_are_void() -> None:
    image = scene()
    image[3] = 0.0
    (result,) = model(stuff_area=10_000).eval()([{"image": image}])
    assert result["panoptic_seg"][0].unique().tolist() == [VOID]
    assert "instances" not in result


def test_options_of_the_search_reach_it() -> None:
    for options, count in (({"threshold": 0.75}, 2), ({"nms_kernel": 25}, 2), ({"top_k": 2}, 0)):
        (result,) = model(**options).eval()([{"image": scene()}])
        numbers = result["panoptic_seg"][0].unique().tolist()
        assert len([number for number in numbers if number > 0 and number % DIVISOR]) == count


def targets(height: int, width: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(height)
    return {
        "image": torch.rand(6, height, width, generator=generator),
        "sem_seg": torch.randint(0, 3, (height, width), generator=generator, dtype=torch.uint8),
        "center": torch.rand(height, width, generator=generator),
        "offset": torch.rand(2, height, width, generator=generator),
        "sem_seg_weights": torch.rand(height, width, generator=generator),
        "center_weights": torch.rand(height, width, generator=generator),
        "offset_weights": torch.rand(height, width, generator=generator),
    }


def test_targets_are_padded_like_the_images() -> None:
    trained = model().train()
    batch = [targets(12, 14), targets(6, 13)]
    losses = trained(batch)
    assert sorted(losses) == ["loss_center", "loss_offset", "loss_sem_seg"]
    labels, weights = trained.sem_seg_head.asked
    centres, centre_weights, offsets, offset_weights = trained.ins_embed_head.asked
    assert labels.dtype == torch.int64
    assert labels.shape == weights.shape == (2, 12, 16)
    assert centres.shape == centre_weights.shape == offset_weights.shape == (2, 1, 12, 16)
    assert offsets.shape == (2, 2, 12, 16)
    for index, entry in enumerate(batch):
        height, width = entry["center"].shape
        for padded, name, outside in (
            (labels, "sem_seg", 255),
            (weights, "sem_seg_weights", 0),
            (centres[:, 0], "center", 0),
            (centre_weights[:, 0], "center_weights", 0),
            (offsets, "offset", 0),
            (offset_weights[:, 0], "offset_weights", 0),
        ):
            assert torch.equal(padded[index, ..., :height, :width], entry[name].to(padded.dtype))
            assert (padded[index, ..., height:, :] == outside).all()
            assert (padded[index, ..., :, width:] == outside).all()


def test_weights_may_have_a_channel_and_those_of_classes_may_be_left_out() -> None:
    trained = model().train()
    entry = targets(12, 14)
    del entry["sem_seg_weights"]
    for name in ("center_weights", "offset_weights"):
        entry[name] = entry[name][None]
    trained([entry])
    assert trained.sem_seg_head.asked[1] is None
    assert trained.ins_embed_head.asked[1].shape == (1, 1, 12, 16)


@pytest.mark.parametrize("name", ["sem_seg", "center", "offset", "center_weights"])
def test_targets_that_are_missing_are_named(name: str) -> None:
    batch = [targets(12, 14), targets(12, 14)]
    del batch[1][name]
    with pytest.raises(ValueError, match=rf"inputs \[1\] have no '{name}'.*TargetGenerator"):
        model().train()(batch)


@pytest.mark.parametrize("name", ["sem_seg", "center", "offset", "center_weights"])
def test_targets_of_another_size_than_the_image_are_named(name: str) -> None:
    batch = [targets(12, 14), targets(12, 14)]
    batch[1][name] = batch[1][name][..., :13]
    with pytest.raises(ValueError, match=rf"input 1 wants '{name}' of .* \(12, 14\), got \(.*13\)"):
        model().train()(batch)


def test_a_label_that_the_head_does_not_know_is_named() -> None:
    trained = model().train()
    trained.sem_seg_head.num_classes = 3
    entry = targets(12, 14)
    trained([entry])
    entry["sem_seg"][3, 4] = 3
    with pytest.raises(ValueError, match="input 0 has pixels of label 3 in 'sem_seg'"):
        trained([entry])


def test_the_model_s_divisibility_comes_before_the_backbone_s() -> None:
    trained = model(size_divisibility=32).train()
    trained([targets(12, 14)])
    assert trained.sem_seg_head.asked[0].shape == (1, 32, 32)


def test_a_config_describes_model_and_heads() -> None:
    cfg = get_cfg()
    add_panoptic_deeplab_config(cfg)
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.DEVICE = "PanopticDeepLab", "meta"
    cfg.MODEL.BACKBONE.NAME = "build_resnet_deeplab_backbone"
    assert "build_resnet_deeplab_backbone" in BACKBONE_REGISTRY
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res2", "res3", "res5"]
    head = cfg.MODEL.SEM_SEG_HEAD
    head.NAME, head.IN_FEATURES = "PanopticDeepLabSemSegHead", ["res2", "res3", "res5"]
    head.PROJECT_CHANNELS, head.HEAD_CHANNELS, head.LOSS_TOP_K = [32, 64], 48, 0.3
    cfg.MODEL.INS_EMBED_HEAD.NORM = head.NORM = "BN"
    cfg.MODEL.INS_EMBED_HEAD.CENTER_LOSS_WEIGHT = 7.0
    options = cfg.MODEL.PANOPTIC_DEEPLAB
    options.STUFF_AREA, options.CENTER_THRESHOLD, options.NMS_KERNEL = 5, 0.25, 9
    options.TOP_K_INSTANCE, options.PREDICT_INSTANCES = 17, False
    built: Any = build_model(cfg)
    assert isinstance(built, PanopticDeepLab)
    assert (built.stuff_area, built.threshold, built.nms_kernel, built.top_k) == (5, 0.25, 9, 17)
    assert not built.predict_instances
    assert built.thing_ids is None
    assert built.sem_seg_head.predictor.in_channels == 48
    assert built.sem_seg_head.loss.top_k_percent_pixels == 0.3
    assert built.ins_embed_head.center_loss_weight == 7.0
    assert built.ins_embed_head.predictor is None
    assert built.ins_embed_head.offset_predictor.out_channels == 2


def test_an_unknown_head_of_instances_is_named() -> None:
    cfg = get_cfg()
    add_panoptic_deeplab_config(cfg)
    cfg.MODEL.INS_EMBED_HEAD.NAME = "Embedder"
    with pytest.raises(KeyError, match="Embedder"):
        build_ins_embed_branch(cfg, {"res2": ShapeSpec(channels=4, stride=4)})


def test_the_model_is_none_that_can_be_exported() -> None:
    with pytest.raises(TypeError, match="PanopticDeepLab cannot be exported: it is neither"):
        output_kind(model())
