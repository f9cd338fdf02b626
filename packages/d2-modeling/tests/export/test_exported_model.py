"""From lists of dicts to tensors and back, around a runner that is given."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from d2_modeling.export import (
    OUTPUT_NAMES,
    ExportedModel,
    PanopticMerging,
    Preprocessing,
    Sidecar,
    TensorSpec,
    load_exported,
)
from d2_modeling.meta_arch import combine_semantic_and_instance_outputs
from d2_structures import Boxes

Runner = Callable[..., Sequence[Tensor]]
EXAMPLES: dict[str, Tensor] = {
    "boxes": torch.tensor([[0.0, 0, 4, 3], [2, 1, 8, 6], [1, 1, 5, 5]]),
    "scores": torch.tensor([0.9, 0.6, 0.8]),
    "classes": torch.tensor([1, 0, 2]),
    "batch_index": torch.tensor([0, 0, 1]),
    "mask_probabilities": torch.full((3, 1, 4, 4), 0.9),
    "keypoints": torch.tensor([[[1.0, 2, 0.5]]]).expand(3, 2, 3),
    "sem_seg": torch.arange(2 * 3 * 8 * 8).view(2, 3, 8, 8).float(),
}


def sidecar_of(kind: str, **options: Any) -> Sidecar:
    dtype = options.pop("dtype", "float32")
    given: dict[str, Any] = {
        "format": "onnx",
        "kind": kind,
        "inputs": (TensorSpec(name="images", dtype=dtype, shape=("N", 3, "H", "W")),),
        "outputs": tuple(TensorSpec.of(name, EXAMPLES[name]) for name in OUTPUT_NAMES[kind]),
        "preprocessing": Preprocessing(),
    }
    return Sidecar(**{**given, **options})


def exported(kind: str, **options: Any) -> tuple[ExportedModel, list[tuple[Tensor, ...]]]:
    """A model that finds the same in all batches, and what it was asked."""
    asked: list[tuple[Tensor, ...]] = []

    def run(*inputs: Tensor) -> list[Tensor]:
        asked.append(inputs)
        return [EXAMPLES[name] for name in OUTPUT_NAMES[kind]]

    return ExportedModel(run, sidecar_of(kind, **options)), asked


def batch(**more: Any) -> list[dict[str, Any]]:
    return [
        {"image": torch.full((3, 6, 8), 5, dtype=torch.uint8), **more},
        {"image": torch.full((3, 5, 7), 9, dtype=torch.uint8)},
    ]


def test_images_are_padded_into_one_batch_with_their_sizes() -> None:
    model, asked = exported("boxes")
    model(batch())
    ((images, sizes),) = asked
    assert images.shape == (2, 3, 6, 8)
    assert images.dtype == torch.float32
    assert (images[0] == 5).all()
    assert (images[1, :, :5, :7] == 9).all()
    assert not images[1, :, 5:].any()
    assert not images[1, :, :, 7:].any()
    assert sizes.tolist() == [[6, 8], [5, 7]]
    assert sizes.dtype == torch.int64


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32"])
def test_images_get_the_type_that_the_artefact_takes(dtype: str) -> None:
    model, asked = exported("boxes", dtype=dtype)
    model(batch())
    assert asked[0][0].dtype == getattr(torch, dtype)


def test_detections_go_to_their_images_and_to_the_wanted_size() -> None:
    model, _ = exported("boxes")
    first, second = (output["instances"] for output in model(batch(height=12, width=24)))
    assert first.image_size == (12, 24)
    assert first.pred_boxes.tensor.tolist() == [[0, 0, 12, 6], [6, 2, 24, 12]]
    assert first.scores.tolist() == EXAMPLES["scores"][:2].tolist()
    assert first.pred_classes.tolist() == [1, 0]
    assert second.image_size == (5, 7)
    assert second.pred_boxes.tensor.tolist() == [[1, 1, 5, 5]]
    assert sorted(first.get_fields()) == ["pred_boxes", "pred_classes", "scores"]
    assert isinstance(first.pred_boxes, Boxes)


def test_masks_are_pasted_and_keypoints_scaled() -> None:
    model, _ = exported("masks_and_keypoints")
    first, second = (output["instances"] for output in model(batch(height=12, width=24)))
    assert first.pred_masks.shape == (2, 12, 24)
    assert first.pred_masks.dtype == torch.bool
    assert first.pred_masks[0, 1:5, 1:11].all()
    assert not first.pred_masks[0, 6:].any()
    assert not first.pred_masks[0, :, 12:].any()
    assert first.pred_keypoints[0, 0].tolist() == [3.0, 4.0, 0.5]
    assert second.pred_masks.shape == (1, 5, 7)
    assert second.pred_keypoints[0, 0].tolist() == [1.0, 2.0, 0.5]


def test_logits_lose_their_padding() -> None:
    model, _ = exported("sem_seg")
    first, second = model(batch())
    assert list(first) == ["sem_seg"]
    torch.testing.assert_close(first["sem_seg"], EXAMPLES["sem_seg"][0, :, :6, :8])
    torch.testing.assert_close(second["sem_seg"], EXAMPLES["sem_seg"][1, :, :5, :7])
    (resized,) = model([batch()[0] | {"height": 3, "width": 4}])
    assert resized["sem_seg"].shape == (3, 3, 4)


def test_panoptic_results_are_merged_as_the_sidecar_says() -> None:
    for thresholds in ((0.5, 1.0, 0.5), (0.5, 10_000.0, 0.85)):
        merging = PanopticMerging(
            overlap_threshold=thresholds[0],
            stuff_area_limit=thresholds[1],
            instances_score_threshold=thresholds[2],
        )
        model, _ = exported("panoptic", panoptic_merging=merging)
        for output in model(batch()):
            assert sorted(output) == ["instances", "panoptic_seg", "sem_seg"]
            ids, segments = combine_semantic_and_instance_outputs(
                output["instances"], output["sem_seg"].argmax(dim=0), *thresholds
            )
            assert torch.equal(output["panoptic_seg"][0], ids)
            assert output["panoptic_seg"][1] == segments


def test_an_artefact_that_resizes_itself_gets_pictures_one_after_the_other() -> None:
    model, asked = exported("boxes", preprocessing=Preprocessing(inside=True))
    outputs = model(batch())
    assert [tuple(image.shape) for (image,) in asked] == [(1, 3, 6, 8), (1, 3, 5, 7)]
    assert all(image.dtype == torch.uint8 for (image,) in asked)
    assert [len(output["instances"]) for output in outputs] == [2, 2]  # of image 0 in each call
    assert [output["instances"].image_size for output in outputs] == [(6, 8), (5, 7)]


def test_only_an_artefact_that_resizes_wants_pictures_of_bytes() -> None:
    real = [{"image": torch.rand(3, 6, 8)}]
    with pytest.raises(ValueError, match=r"input 0 wants an image of uint8.*got torch.float32"):
        exported("boxes", preprocessing=Preprocessing(inside=True))[0](real)
    assert len(exported("boxes")[0](real)) == 1


@pytest.mark.parametrize("inside", [False, True])
def test_bad_images_are_refused_before_anything_runs(inside: bool) -> None:
    model, asked = exported("boxes", preprocessing=Preprocessing(inside=inside))
    for image, message in (
        (torch.zeros(1, 6, 8, dtype=torch.uint8), r"shape \(3, H, W\), got \(1, 6, 8\)"),
        (torch.zeros(3, 0, 8, dtype=torch.uint8), "without pixels"),
        (None, "got NoneType"),
    ):
        with pytest.raises(ValueError, match=f"input 1 .*{message}"):
            model([batch()[0], {"image": image}])
    assert asked == []


@pytest.mark.parametrize("inside", [False, True])
def test_no_images_run_nothing(inside: bool) -> None:
    model, asked = exported("boxes", preprocessing=Preprocessing(inside=inside))
    assert model([]) == []
    assert asked == []


def test_images_may_come_one_by_one() -> None:
    assert len(exported("boxes")[0](entry for entry in batch())) == 2


def test_a_file_that_gives_too_little_is_noticed() -> None:
    model = ExportedModel(lambda *_: [EXAMPLES["boxes"]], sidecar_of("boxes"))
    with pytest.raises(ValueError, match="shorter"):
        model(batch())


def test_an_exported_model_is_in_evaluation_mode_and_has_its_sidecar() -> None:
    model, _ = exported("boxes", class_names=("cat", "dog"))
    assert not model.training
    assert model.sidecar.class_names == ("cat", "dog")
    assert list(model.parameters()) == []


def test_what_is_not_there_is_named(tmp_path: Any) -> None:
    with pytest.raises(FileNotFoundError, match=r"absent\.onnx has no sidecar absent\.onnx\.json"):
        load_exported(tmp_path / "absent.onnx")
