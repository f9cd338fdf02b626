import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from torch.testing import assert_close

from d2_structures import Keypoints, heatmaps_to_keypoints


def by_definition(maps, rois):
    """Enlarge one map after the other and look where it is highest."""
    found = torch.zeros(*maps.shape[:2], 4)
    for i, (x1, y1, x2, y2) in enumerate(rois.tolist()):
        width, height = max(x2 - x1, 1), max(y2 - y1, 1)
        rows, columns = -int(-height // 1), -int(-width // 1)
        enlarged = F.interpolate(maps[i : i + 1], (rows, columns), mode="bicubic")[0]
        for k, one in enumerate(enlarged):
            row, column = divmod(one.argmax().item(), columns)
            score = 1 / (maps[i, k] - one.max()).exp().sum()
            x, y = (column + 0.5) * width / columns + x1, (row + 0.5) * height / rows + y1
            found[i, k] = torch.tensor([x, y, one.max(), score])
    return found


def random_case(count, seed, largest=60.0, smooth=False):
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(count, 3, 14, 12, generator=generator)
    if smooth:
        maps = 10 * F.avg_pool2d(maps, 5, 1, 2)
    start = torch.rand(count, 2, generator=generator) * 100
    rois = torch.cat((start, start + torch.rand(count, 2, generator=generator) * largest), dim=1)
    return maps, rois


@settings(max_examples=20)
@given(st.integers(1, 6), st.integers(0, 10_000), st.booleans())
def test_it_finds_the_highest_pixel_of_the_enlarged_map(count, seed, smooth):
    maps, rois = random_case(count, seed, smooth=smooth)
    found, expected = heatmaps_to_keypoints(maps, rois), by_definition(maps, rois)
    # Where two pixels are equally high but for rounding, either may be found.
    assert_close(found[..., 2:], expected[..., 2:], atol=1e-4, rtol=1e-4)
    agrees = (found[..., :2] - expected[..., :2]).abs().amax(dim=2) < 1e-3
    assert agrees.float().mean() > 0.9


def test_values_agree_with_the_original_system(golden):
    values = golden["keypoints"]
    found = heatmaps_to_keypoints(values["maps"], values["rois"])
    assert_close(found, values["heatmaps_to_keypoints"], atol=2e-5, rtol=1e-5)


def test_the_order_and_the_sizes_of_other_regions_do_not_matter():
    maps, rois = random_case(8, 3)
    rois[2, 2:] = rois[2, :2] + 900
    together = heatmaps_to_keypoints(maps, rois)
    for i in range(8):
        alone = heatmaps_to_keypoints(maps[i : i + 1], rois[i : i + 1])
        assert_close(together[i : i + 1], alone, atol=1e-4, rtol=1e-5)


def test_a_keypoint_is_read_back_from_its_own_heatmap():
    boxes = torch.tensor([[10.0, 20.0, 66.0, 76.0]])
    keypoints = Keypoints([[[30.5, 41.5, 2]]])
    cells, _ = keypoints.to_heatmap(boxes, 56)
    maps = torch.zeros(1, 1, 56 * 56).scatter(2, cells[:, :, None], 9.0).view(1, 1, 56, 56)
    assert_close(heatmaps_to_keypoints(maps, boxes)[0, 0, :2], torch.tensor([30.5, 41.5]))


def test_of_equal_pixels_the_first_counts_and_scores_are_probabilities():
    found = heatmaps_to_keypoints(torch.zeros(1, 1, 4, 4), torch.tensor([[0.0, 0, 4, 4]]))
    assert found.flatten().tolist() == [0.5, 0.5, 0, 1 / 16]


def test_a_region_without_area_counts_as_one_pixel():
    maps, _ = random_case(1, 0)
    found = heatmaps_to_keypoints(maps, torch.tensor([[5.0, 6.0, 5.0, 6.0]]))
    assert found[0, :, :2].tolist() == [[5.5, 6.5]] * 3


@pytest.mark.parametrize("shape", [(0, 17, 56, 56), (2, 0, 56, 56)])
def test_nothing_gives_nothing(shape):
    assert heatmaps_to_keypoints(torch.zeros(shape), torch.zeros(shape[0], 4)).shape == (
        *shape[:2],
        4,
    )


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"got \[3, 4, 4\]"):
        heatmaps_to_keypoints(torch.zeros(3, 4, 4), torch.zeros(3, 4))
    with pytest.raises(ValueError, match="2 maps but 3 rois"):
        heatmaps_to_keypoints(torch.zeros(2, 1, 4, 4), torch.zeros(3, 4))


@pytest.mark.filterwarnings("ignore:.torch.jit")
def test_a_trace_holds_for_other_regions():
    traced = torch.jit.trace(heatmaps_to_keypoints, random_case(4, 0))
    other = random_case(7, 1, largest=90.0)
    assert_close(traced(*other), heatmaps_to_keypoints(*other), atol=1e-4, rtol=1e-4)


def test_regions_beyond_4096_pixels_are_enlarged_to_4096_on_any_device(monkeypatch):
    maps, _ = random_case(1, 5)
    large = torch.tensor([[100.0, 50.0, 100.0 + 2**20, 58.0]])
    expected = heatmaps_to_keypoints(maps, torch.tensor([[0.0, 0.0, 4096.0, 8.0]]))
    expected[..., 0] = expected[..., 0] * 2**20 / 4096 + 100
    expected[..., 1] += 50
    assert_close(heatmaps_to_keypoints(maps, large), expected)
    monkeypatch.setattr("d2_structures.keypoint_heatmaps.on_host", lambda _: False)
    assert_close(heatmaps_to_keypoints(maps, large), expected, rtol=1e-4, atol=1e-4)
