"""Large-scale jitter."""

import numpy as np
import pytest

from d2_data import transforms as T


@pytest.mark.parametrize("seed", range(8))
def test_jitter_draws_and_does_what_resize_and_crop_do_in_turn(seed):
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    jittered = T.AugInput(image, boxes=np.array([[3.0, 4, 50, 30]]))
    np.random.seed(seed)
    T.LargeScaleJitter((70, 50), 0.5, 1.5, pad_value=9)(jittered)
    in_turn = T.AugInput(image, boxes=np.array([[3.0, 4, 50, 30]]))
    np.random.seed(seed)
    T.AugmentationList([T.ResizeScale(0.5, 1.5, 70, 50), T.FixedSizeCrop((70, 50), pad_value=9)])(
        in_turn
    )
    assert jittered.image.shape == (70, 50, 3)
    np.testing.assert_array_equal(jittered.image, in_turn.image)
    np.testing.assert_array_equal(jittered.boxes, in_turn.boxes)


@pytest.mark.parametrize("scales", [(0, 1), (2, 1)])
def test_scales_that_are_no_interval_are_refused(scales):
    with pytest.raises(ValueError, match="0 < min_scale <= max_scale"):
        T.LargeScaleJitter((10, 10), *scales)
