"""Transforms of ``torchvision.transforms.v2`` as policies."""

import copy
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import numpy as np
import torch

from d2_data.transforms.augmentation import Augmentation, _Transformable
from d2_data.transforms.flip import HFlipTransform, VFlipTransform
from d2_data.transforms.other_libraries import BoxesOnlyTransform, drawn_seed, draws_of
from d2_data.transforms.polygon_clipping import moved_and_clipped
from d2_data.transforms.transform import NoOpTransform, Transform, TransformList
from d2_data.transforms.windows import CropTransform

# Those of these modules change pixels in place.
_PHOTOMETRIC = ("_color", "_misc", "_type_conversion", "_augment")

# What they would do to boxes and points, transforms here do by themselves.
_WITHOUT_EFFECT = (
    "ConvertBoundingBoxFormat",
    "SetClampingMode",
    "ClampKeyPoints",
    "SanitizeKeyPoints",
)


def torchvision_augmentation(transform: Any) -> Augmentation:
    """A policy that draws the parameters of a transform once, for all data.

    All that is drawn follows NumPy's global generator, as policies do. Containers become lists of
    policies, so that each transform sees what the one before left.

    Raises:
        TypeError: if the transform mixes batches.
    """
    name, of_torchvision = type(transform).__name__, _is_of_torchvision(transform)
    if of_torchvision and name in ("MixUp", "CutMix"):
        raise TypeError(
            f"{name} of torchvision mixes batches, not pictures with boxes; see d2_data.mixing"
        )
    if of_torchvision and name in ("Compose", "RandomApply", "RandomChoice", "RandomOrder"):
        children = list(transform.transforms)
        if all(_is_v2(child) for child in children):
            return _Container(transform, [torchvision_augmentation(child) for child in children])
    return _TorchvisionAugmentation(transform)


def _is_of_torchvision(transform: Any) -> bool:
    return type(transform).__module__.startswith("torchvision.")


def _is_v2(transform: Any) -> bool:
    v2 = _v2()
    return isinstance(transform, v2.Transform)


class _Container(Augmentation):
    """Compose, RandomApply, RandomChoice or RandomOrder of torchvision."""

    def __init__(self, container: Any, children: Sequence[Augmentation]) -> None:
        self._container = container
        self._children = children

    def __call__(self, aug_input: _Transformable) -> TransformList:
        """Augment in place and return all that was applied."""
        return TransformList([child(aug_input) for child in self._chosen()])

    def looks_at(self, name: str) -> bool:
        """Whether one of the decisions needs an attribute of the input."""
        return any(child.looks_at(name) for child in self._children)

    def _chosen(self) -> list[Augmentation]:
        children, kind = list(self._children), type(self._container).__name__
        if kind == "RandomApply":
            return children if np.random.uniform() < self._container.p else []
        if kind == "RandomChoice":
            return [children[np.random.choice(len(children), p=self._container.p)]]
        if kind == "RandomOrder":
            return [children[i] for i in np.random.permutation(len(children))]
        return children

    def __repr__(self) -> str:
        return f"{type(self._container).__name__}[{', '.join(map(repr, self._children))}]"


class _TorchvisionAugmentation(Augmentation):
    """The policy of one transform.

    Args:
        transform: of torchvision, or a subclass.
    """

    def __init__(self, transform: Any) -> None:
        self._transform = transform

    def get_transform(self, image: np.ndarray, boxes: np.ndarray | None = None) -> Transform:
        """What was drawn for an image of (H, W), (H, W, C) and, where it matters, its boxes."""
        size = (image.shape[0], image.shape[1])
        if _is_of_torchvision(self._transform):
            known = self._known_step(size)
            if known is not None:
                return known
        seed = drawn_seed()
        if not _draws_parameters_once(self._transform):
            return TorchvisionTransform(
                _RunAnew(self._transform, size, seed), type(self._transform).__name__, size, True
            )
        if _may_be_left_out(self._transform) and np.random.uniform() >= self._transform.p:
            return NoOpTransform()
        return self._drawn_step(image, boxes, size, seed)

    def _known_step(self, size: tuple[int, int]) -> Transform | None:
        """The step of a transform that is the same as one here, or is about boxes alone."""
        transform, name = self._transform, type(self._transform).__name__
        if name in ("RandomHorizontalFlip", "RandomVerticalFlip"):
            if np.random.uniform() >= transform.p:
                return NoOpTransform()
            # Known as a mirror, so that keypoints exchange left and right.
            mirrors = name == "RandomHorizontalFlip"
            return HFlipTransform(size[1]) if mirrors else VFlipTransform(size[0])
        if name == "SanitizeBoundingBoxes":
            return _Sanitized(size, transform.min_size, transform.min_area)
        if name == "ClampBoundingBoxes":
            return _Clamped(size)
        return NoOpTransform() if name in _WITHOUT_EFFECT else None

    def _drawn_step(
        self, image: np.ndarray, boxes: np.ndarray | None, size: tuple[int, int], seed: int
    ) -> Transform:
        inputs = [_wrapped_image(image)]
        if boxes is not None:
            inputs.append(_wrapped_boxes(np.asarray(boxes), size))
        found: list[dict[str, Any]] = []

        def make_params(flat_inputs: list[Any]) -> dict[str, Any]:
            found.append(self._transform.make_params(flat_inputs))
            return found[0]

        probe = _altered(
            self._transform,
            make_params=make_params,
            transform=lambda inpt, params: inpt,
            p=1.0,
        )
        with draws_of(seed):
            try:
                probe(*inputs)
            except TypeError as error:
                if boxes is None and "bounding boxes" in str(error):
                    raise _without_boxes(self._transform) from error
                raise
        params = found[0]
        if _is_of_torchvision(self._transform):
            if type(self._transform).__name__ == "RandomIoUCrop":
                return _crop_keeping_centres(params, size) if params else NoOpTransform()
            module = type(self._transform).__module__.rpartition(".")[2]
            moves = module not in _PHOTOMETRIC or type(self._transform).__name__ == "Lambda"
        else:
            moves = True
        replay = _altered(
            self._transform,
            make_params=lambda flat: params,
            check_inputs=lambda flat: None,
            p=1.0,
        )
        return TorchvisionTransform(
            _Replayed(replay, seed), type(self._transform).__name__, size, moves
        )

    def __repr__(self) -> str:
        return repr(self._transform)


def _without_boxes(transform: Any) -> ValueError:
    return ValueError(
        f"{type(transform).__name__} of torchvision looks at the boxes, and there are none: give "
        "AugInput(image, boxes=boxes)"
    )


def _draws_parameters_once(transform: Any) -> bool:
    v2 = _v2()
    return type(transform).forward is v2.Transform.forward or _may_be_left_out(transform)


def _may_be_left_out(transform: Any) -> bool:
    """Whether a transform is applied with a probability ``p``."""
    v2 = _v2()
    return type(transform).forward is v2.RandomHorizontalFlip.forward


def _altered(transform: Any, /, **attributes: Any) -> Any:
    """A copy of a transform with other methods and settings; the transform stays as it is."""
    altered = copy.copy(transform)
    if not _may_be_left_out(transform):
        attributes.pop("p")
    altered.__dict__.update(attributes)
    return altered


class _Replayed:
    """A transform whose parameters are known."""

    def __init__(self, transform: Any, seed: int) -> None:
        self._transform = transform
        self._seed = seed

    def __call__(self, data: Any) -> Any:
        # Some, as noise, draw more than parameters.
        with draws_of(self._seed):
            return self._transform(data)


class _RunAnew:
    """A transform that keeps to itself what it draws: it draws the same again beside an image."""

    def __init__(self, transform: Any, size: tuple[int, int], seed: int) -> None:
        self._transform = transform
        self._size = size
        self._seed = seed

    def __call__(self, data: Any) -> Any:
        tv_tensors = _tv_tensors()
        with draws_of(self._seed):
            if isinstance(data, tv_tensors.Image):
                return self._transform(data)
            blank = _wrapped_image(np.zeros((*self._size, 3), np.uint8))
            return self._transform(blank, data)[1]


class TorchvisionTransform(Transform):
    """What a transform of torchvision does, with parameters that were drawn.

    Args:
        run: takes a ``TVTensor``, returns the transformed one.
        name: of the transform.
        size: (height, width) of the image before.
        moves: whether anything but pixel values may change.
    """

    def __init__(
        self, run: Callable[[Any], Any], name: str, size: tuple[int, int], moves: bool
    ) -> None:
        self._run = run
        self.name = name
        self.size = size
        self.moves = moves

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """Transform (H, W), (H, W, C) or (N, H, W, C)."""
        moved = self._run(_wrapped_image(img))
        return _image_array(moved, img.ndim, self.name)

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """Transform an (H, W) map of labels, as torchvision does masks."""
        tv_tensors = _tv_tensors()
        if not self.moves:
            return segmentation
        dtype = segmentation.dtype
        # torch has few operations on the others.
        kept = dtype if dtype in (np.uint8, np.int32, np.int64) else np.dtype(np.int32)
        mask = tv_tensors.Mask(_tensor(segmentation.astype(kept, copy=False)))
        moved: np.ndarray = self._moved(mask, "segmentations").numpy()
        return moved.astype(dtype, copy=False)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Transform (N, 2) points, as torchvision does boxes without extent.

        Its own key points are indices of pixels for some transforms and continuous for others.
        """
        return self._moved_points(coords)[0]

    def apply_polygons(self, polygons: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Transform polygons, each (N, 2), and cut them at the edges of the result."""
        if not self.moves or not len(polygons):
            return list(polygons)
        return moved_and_clipped(polygons, self._moved_points)

    def _moved_points(self, coords: np.ndarray) -> tuple[np.ndarray, tuple[int, int]]:
        """Points, and (height, width) of the canvas that they come to lie on."""
        given = np.asarray(coords)
        points = given if np.issubdtype(given.dtype, np.floating) else given.astype(np.float64)
        if not self.moves:
            return points, self.size
        # One at least, so that the canvas is told.
        boxes = np.concatenate([np.tile(points.reshape(-1, 2), 2), np.zeros((1, 4), points.dtype)])
        moved = self._moved(_wrapped_boxes(boxes, self.size), "points")
        canvas = moved.canvas_size
        result: np.ndarray = moved.as_subclass(torch.Tensor)[:-1, :2].numpy()
        return result.astype(points.dtype, copy=False), (int(canvas[0]), int(canvas[1]))

    def _moved(self, data: Any, what: str) -> Any:
        try:
            return self._run(data)
        except (TypeError, NotImplementedError) as error:
            raise NotImplementedError(
                f"{self.name} of torchvision cannot move {what} with the image: {error}"
            ) from error

    def inverse(self) -> Transform:
        """Nothing for a change of pixel values.

        Raises:
            NotImplementedError: otherwise, as torchvision knows no way back.
        """
        if not self.moves:
            return NoOpTransform()
        raise NotImplementedError(
            f"{self.name} of torchvision has no inverse; where predictions are to be brought back, "
            "use the transforms of d2_data.transforms"
        )

    def __repr__(self) -> str:
        return f"TorchvisionTransform({self.name})"


class _Clamped(BoxesOnlyTransform):
    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size

    def apply_box(self, box: np.ndarray) -> np.ndarray:
        height, width = self.size
        clipped: np.ndarray = np.clip(np.asarray(box), 0, [width, height, width, height])
        return clipped


class _Sanitized(_Clamped):
    def __init__(self, size: tuple[int, int], min_size: float, min_area: float) -> None:
        super().__init__(size)
        self.min_size, self.min_area = min_size, min_area

    def apply_box(self, box: np.ndarray) -> np.ndarray:
        boxes = super().apply_box(box).reshape(-1, 4)
        sides = boxes[:, 2:] - boxes[:, :2]
        keep = (sides >= self.min_size).all(axis=1) & (sides.prod(axis=1) >= self.min_area)
        return np.where(keep[:, None], boxes, 0).astype(boxes.dtype, copy=False)


def _crop_keeping_centres(params: dict[str, Any], size: tuple[int, int]) -> CropTransform:
    return _CropKeepingCentres(
        params["left"],
        params["top"],
        params["width"],
        params["height"],
        orig_w=size[1],
        orig_h=size[0],
    )


class _CropKeepingCentres(CropTransform):
    """A crop that drops the boxes whose centre it cuts off."""

    def apply_box(self, box: np.ndarray) -> np.ndarray:
        boxes = super().apply_box(box)
        centres = (boxes[:, :2] + boxes[:, 2:]) / 2
        keep = ((centres > 0) & (centres < [self.w, self.h])).all(axis=1)
        return np.where(keep[:, None], boxes, 0).astype(boxes.dtype, copy=False)


def _v2() -> Any:
    return import_module("torchvision.transforms.v2")


def _tv_tensors() -> Any:
    return import_module("torchvision.tv_tensors")


def _tensor(array: np.ndarray) -> torch.Tensor:
    contiguous = np.ascontiguousarray(array)
    return torch.from_numpy(contiguous if contiguous.flags.writeable else contiguous.copy())


def _wrapped_image(img: np.ndarray) -> Any:
    tv_tensors = _tv_tensors()
    planes = img[..., None] if img.ndim == 2 else img
    return tv_tensors.Image(_tensor(np.moveaxis(planes, -1, -3)))


def _wrapped_boxes(boxes: np.ndarray, size: tuple[int, int]) -> Any:
    tv_tensors = _tv_tensors()
    floating = boxes if np.issubdtype(boxes.dtype, np.floating) else boxes.astype(np.float32)
    # Boxes are cut at the edges at the very end: what leaves the image may come back.
    return tv_tensors.BoundingBoxes(
        _tensor(floating.reshape(-1, 4)), format="XYXY", canvas_size=size, clamping_mode=None
    )


def _image_array(image: Any, dimensions: int, name: str) -> np.ndarray:
    if not isinstance(image, torch.Tensor):
        try:
            image = torch.from_numpy(np.array(image))
        except (TypeError, ValueError):
            raise TypeError(
                f"{name} of torchvision must return one image, got {type(image).__name__}"
            ) from None
        image = image[None] if image.ndim == 2 else image.movedim(-1, -3)
    pixels: np.ndarray = np.moveaxis(image.as_subclass(torch.Tensor).numpy(), -3, -1)
    return pixels[..., 0] if dimensions == 2 and pixels.shape[-1] == 1 else pixels
