"""Rotation by any angle, and choosing one."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from d2_data.transforms.augmentation import Augmentation, decides_by_shape
from d2_data.transforms.resampling import by_channel, pillow_plane
from d2_data.transforms.transform import NoOpTransform, Transform, TransformList
from d2_data.transforms.windows import CropTransform

__all__ = ["RandomRotation", "RotationTransform"]

_NEAREST, _LINEAR = 0, 1
_PILLOW_METHODS = {
    _NEAREST: Image.Resampling.NEAREST,
    _LINEAR: Image.Resampling.BILINEAR,
    2: Image.Resampling.BICUBIC,
}


class RotationTransform(Transform):
    """Rotate an image counter-clockwise; what was outside becomes zero.

    Args:
        h, w: size of the image before, in pixels.
        angle: degrees, counter-clockwise.
        expand: enlarge the result to hold the whole rotated image; otherwise its size
            stays and the corners are cut off.
        center: (x, y) of the centre of rotation in pixels, the image's own centre when
            None; with ``expand`` it has no effect.
        interp: 0 nearest, 1 bilinear, 2 bicubic; bilinear when None.

    Attributes:
        bound_w, bound_h: size of the result in pixels.
    """

    def __init__(
        self,
        h: int,
        w: int,
        angle: float,
        expand: bool = True,
        center: Sequence[float] | np.ndarray | None = None,
        interp: int | None = None,
    ) -> None:
        self.h, self.w = h, w
        self.angle = angle
        self.expand = expand
        middle = np.array([w / 2, h / 2])
        self.center = middle if center is None else np.asarray(center, dtype=np.float64)
        self.interp = _LINEAR if interp is None else interp
        if self.interp not in _PILLOW_METHODS:
            raise ValueError(
                f"RotationTransform: interp must be 0 (nearest), 1 (bilinear) or 2 (bicubic), "
                f"got {interp!r}"
            )
        if expand:
            self.center = middle
            cos, sin = (abs(f(np.deg2rad(angle))) for f in (np.cos, np.sin))
            self.bound_w = int(np.rint(h * sin + w * cos))
            self.bound_h = int(np.rint(h * cos + w * sin))
        else:
            self.bound_w, self.bound_h = w, h
        self.rm_coords = self.create_rotation_matrix()

    def create_rotation_matrix(self, offset: float = 0) -> np.ndarray:
        """(2, 3) matrix that takes (x, y, 1) before the rotation to (x, y) after it.

        Args:
            offset: of the coordinates' origin: 0 for continuous coordinates, −0.5 for
                the indices of pixels.
        """
        cos, sin = np.cos(np.deg2rad(self.angle)), np.sin(np.deg2rad(self.angle))
        linear = np.array([[cos, sin], [-sin, cos]])
        target = np.array([self.bound_w / 2, self.bound_h / 2]) if self.expand else self.center
        shift = target + offset - linear @ (self.center + offset)
        return np.column_stack([linear, shift])

    def apply_image(self, img: np.ndarray, interp: int | None = None) -> np.ndarray:
        """Rotate (H, W) or (H, W, C), by ``interp`` instead of the transform's when given."""
        if img.shape[:2] != (self.h, self.w):
            raise ValueError(
                f"{self!r} was made for images of height {self.h} and width {self.w}, got an "
                f"array of shape {img.shape}"
            )
        if self._is_identity():
            return img
        method = self.interp if interp is None else interp
        return by_channel(img, lambda channel: self._rotate(channel, method))

    def _is_identity(self) -> bool:
        return self.angle % 360 == 0

    def _rotate(self, channel: np.ndarray, method: int) -> np.ndarray:
        """Rotate one (H, W) plane; at the edges pixels blend with the zeros outside."""
        plane, frame = pillow_plane(channel), 0
        if method != _NEAREST:
            # Pillow would extend the edge by half a pixel: a frame of zeros gives the blend.
            # It also truncates interpolated bytes: in floating point they can be rounded.
            plane, frame = channel.astype(np.float32), 2
        backward = np.linalg.inv(np.vstack([self.rm_coords, [0, 0, 1]]))[:2]
        backward[:, 2] += frame
        picture = Image.fromarray(np.pad(plane, frame)).transform(
            (self.bound_w, self.bound_h),
            Image.Transform.AFFINE,
            tuple(backward.ravel().tolist()),
            resample=_PILLOW_METHODS[method],
        )
        rotated = np.asarray(picture)
        if channel.dtype == np.uint8:
            rotated = np.clip(np.rint(rotated), 0, 255)
        return rotated.astype(channel.dtype, copy=False)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Rotate (N, 2) points (x, y)."""
        points = np.asarray(coords, dtype=np.float64).reshape(-1, 2)
        if self._is_identity():
            return points
        return points @ self.rm_coords[:, :2].T + self.rm_coords[:, 2]

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """Rotate by nearest neighbour."""
        return self.apply_image(segmentation, interp=_NEAREST)

    def inverse(self) -> TransformList:
        """To rotate back, and with ``expand`` to cut out the original region."""
        if not self.expand:
            back = RotationTransform(
                self.h, self.w, -self.angle, expand=False, center=self.center, interp=self.interp
            )
            return TransformList([back])
        back = RotationTransform(self.bound_h, self.bound_w, -self.angle, interp=self.interp)
        crop = CropTransform(
            (back.bound_w - self.w) // 2,
            (back.bound_h - self.h) // 2,
            self.w,
            self.h,
            orig_w=back.bound_w,
            orig_h=back.bound_h,
        )
        return TransformList([back, crop])


class RandomRotation(Augmentation):
    """Rotate by a random angle, counter-clockwise.

    Draws the angle, then, where ``center`` is given, the centre.

    Args:
        angle: [min, max] in degrees with "range", the angles to choose from with
            "choice"; or one number.
        expand: enlarge the result to hold the whole rotated image.
        center: with "range" the corners [[min x, min y], [max x, max y]] of the region
            that the centre is drawn from, with "choice" a list of centres; relative to
            the image's size, (0, 0) at the top left and (1, 1) at the bottom right. The
            middle of the image when None. Has no effect with ``expand``.
        sample_style: "range" or "choice".
        interp: as in :class:`RotationTransform`.
    """

    def __init__(
        self,
        angle: float | Sequence[float],
        expand: bool = True,
        center: Sequence[Sequence[float]] | None = None,
        sample_style: str = "range",
        interp: int | None = None,
    ) -> None:
        if sample_style not in ("range", "choice"):
            raise ValueError(
                f"RandomRotation: sample_style is 'range' or 'choice', got {sample_style!r}"
            )
        self.angle = (angle, angle) if isinstance(angle, int | float) else angle
        if sample_style == "range" and len(self.angle) != 2:
            raise ValueError(
                f"RandomRotation: angle must be [min, max] for sample_style='range', got {angle!r}"
            )
        self.expand = expand
        self.center = center
        self.sample_style = sample_style
        self.interp = interp

    @decides_by_shape
    def get_transform(self, image: np.ndarray) -> Transform:
        """The rotation by a drawn angle about a drawn centre."""
        h, w = image.shape[:2]
        angle, center = self._draw()
        if angle % 360 == 0:
            return NoOpTransform()
        if center is not None:
            center = (w * center[0], h * center[1])
        return RotationTransform(h, w, angle, self.expand, center, self.interp)

    def _draw(self) -> tuple[float, tuple[float, float] | None]:
        if self.sample_style == "range":
            angle = float(np.random.uniform(self.angle[0], self.angle[1]))
            if self.center is None:
                return angle, None
            (min_x, min_y), (max_x, max_y) = self.center
            return angle, (np.random.uniform(min_x, max_x), np.random.uniform(min_y, max_y))
        angle = float(np.random.choice(self.angle))
        if self.center is None:
            return angle, None
        x, y = self.center[np.random.choice(len(self.center))]
        return angle, (x, y)
