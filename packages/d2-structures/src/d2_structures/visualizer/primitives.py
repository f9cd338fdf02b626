"""`PrimitiveDrawing`: text, lines, boxes, circles, polygons and masks, one at a time."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..rotated_corners import rotated_corners
from .array_input import as_array, read_boxes, read_keypoints
from .canvas import Stroke
from .colors import ColorLike, lightened, parse_color
from .components import find_components, without_small_components
from .instance_layer import (
    draw_box_outlines,
    draw_rotated_outlines,
    edge_color_for,
    label_patches,
)
from .label_layout import LabelLayout
from .mask_kinds import BinaryMask, crop_to_content, read_polygon
from .palette import palette_color
from .silhouettes import binary_silhouette, paint, polygon_silhouette
from .skeleton import read_skeleton
from .strokes import dashed, path_segments
from .style import style_for
from .text import make_tag, tag_patches
from .vis_image import VisImage

__all__ = ["PrimitiveDrawing"]

_TEXT_PLATE = parse_color("black")
_LARGE_PART = 0.06  # of the image: a component this large gets its own text


class PrimitiveDrawing:
    """A picture and the methods that draw single objects on it.

    Coordinates are continuous pixels of the unscaled image. Colours are written in any format
    that :func:`~d2_structures.visualizer.colors.parse_color` reads; the opacity of an RGBA
    colour multiplies ``alpha``. Every method returns ``output``, so calls can be chained into
    ``.get_image()`` or ``.save()``.
    """

    def __init__(self, img_rgb: Any, metadata: Any = None, scale: float = 1.0) -> None:
        self.output = VisImage(img_rgb, scale)
        self.img = self.output.img
        self.metadata = SimpleNamespace(**metadata) if isinstance(metadata, Mapping) else metadata
        self._image_size: tuple[int, int] = self.img.shape[:2]
        self._canvas = self.output.canvas
        self._style = style_for(self.output.height, self.output.width)
        self._layout = LabelLayout(self.output.width, self.output.height)
        self._drawn_masks = 0

    def draw_text(
        self,
        text: str,
        position: tuple[float, float],
        *,
        font_size: float | None = None,
        color: ColorLike = "g",
        horizontal_alignment: str = "center",
        rotation: float = 0,
    ) -> VisImage:
        """Write text on a dark plate, moved as little as needed to stay inside the picture.

        Args:
            text: one or more lines.
            position: (x, y) of the upper edge of the plate; ``horizontal_alignment`` tells
                which part of the edge.
            font_size: height of the font in pixels of the unscaled image; by default in
                proportion to the image.
            color: colour of the letters; dark colours are lightened until they can be read.
            horizontal_alignment: ``"left"``, ``"center"`` or ``"right"``.
            rotation: degrees counter-clockwise.

        Raises:
            ValueError: for another alignment, or a font size that is not positive.
        """
        shares = {"left": 0.0, "center": 0.5, "right": 1.0}
        if horizontal_alignment not in shares:
            raise ValueError(
                f"horizontal_alignment must be one of {list(shares)}, got {horizontal_alignment!r}"
            )
        if font_size is not None and not font_size > 0:
            raise ValueError(f"font_size must be positive, got {font_size!r}")
        size = self._style.font_size if font_size is None else round(font_size * self.output.scale)
        tag = make_tag(str(text), max(size, 1), rotation)
        x, y = self._finite(position) * self.output.scale
        left = round(x - tag.width * shares[horizontal_alignment])
        corner = (
            max(min(left, self.output.width - tag.width), 0),
            max(min(round(y), self.output.height - tag.height), 0),
        )
        letters = lightened(parse_color(color))
        self._canvas.lay(tag_patches(tag, corner, letters, _TEXT_PLATE, 0.75))
        return self.output

    def draw_box(
        self,
        box_coord: Sequence[float],
        alpha: float = 0.5,
        edge_color: ColorLike = "g",
        line_style: str = "-",
    ) -> VisImage:
        """Outline a box.

        Args:
            box_coord: x0, y0, x1, y1.
            alpha: opacity of the line, 0..1.
            edge_color: colour of the line.
            line_style: ``"-"``, ``"--"``, ``"-."``, ``":"`` or their names.
        """
        box = read_boxes(as_array(box_coord)[None])
        if box.shape[1] != 4:
            raise ValueError(f"box_coord needs x0, y0, x1, y1, got {box_coord!r}")
        draw_box_outlines(
            self._canvas,
            box * self.output.scale,
            self._style.line_width,
            [parse_color(edge_color)],
            alpha,
            line_style,
        )
        return self.output

    def draw_rotated_box_with_label(
        self,
        rotated_box: Sequence[float],
        alpha: float = 0.5,
        edge_color: ColorLike = "g",
        line_style: str = "-",
        label: str | None = None,
    ) -> VisImage:
        """Outline a rotated box, with a label at its upper left corner.

        Args:
            rotated_box: (cnt_x, cnt_y, w, h, angle), the angle in degrees counter-clockwise.
            alpha: opacity of the line, 0..1.
            edge_color: colour of the line and of the label's plate.
            line_style: ``"-"``, ``"--"``, ``"-."``, ``":"`` or their names.
            label: text at the corner that is the upper left one at angle 0; None for none.
        """
        box = read_boxes(as_array(rotated_box)[None])
        if box.shape[1] != 5:
            raise ValueError(f"rotated_box needs 5 numbers, got {rotated_box!r}")
        box[:, :4] *= self.output.scale
        color = parse_color(edge_color)
        line_width = self._style.line_width
        draw_rotated_outlines(self._canvas, box, line_width, [color], alpha, line_style)
        if label:
            x, y = rotated_corners(box)[0, 0]
            self._canvas.lay(
                label_patches(self._layout, self._style, label, color, box=(x, y, x, y))
            )
        return self.output

    def draw_circle(
        self, circle_coord: Sequence[float], color: ColorLike, radius: float = 3
    ) -> VisImage:
        """Fill a circle around (x, y) = ``circle_coord`` with a radius in pixels."""
        if not radius > 0:
            raise ValueError(f"radius must be positive, got {radius!r}")
        centre = self._finite(circle_coord)[None] * self.output.scale
        diameter = 2 * radius * self.output.scale
        self._canvas.stroke([Stroke(path_segments(centre), diameter, parse_color(color))])
        return self.output

    def draw_line(
        self,
        x_data: Sequence[float],
        y_data: Sequence[float],
        color: ColorLike,
        linestyle: str = "-",
        linewidth: float | None = None,
    ) -> VisImage:
        """Draw a path.

        Args:
            x_data, y_data: coordinates of its points, equally many.
            color: colour of the line.
            linestyle: ``"-"``, ``"--"``, ``"-."``, ``":"`` or their names.
            linewidth: pixels of the unscaled image; by default in proportion to the image.
        """
        xs, ys = as_array(x_data), as_array(y_data)
        if xs.shape != ys.shape or xs.ndim != 1 or not xs.size:
            raise ValueError(
                f"x_data and y_data must be equally long and not empty, got {xs.shape}, {ys.shape}"
            )
        if linewidth is not None and not linewidth > 0:
            raise ValueError(f"linewidth must be positive, got {linewidth!r}")
        points = np.stack([self._finite(xs), self._finite(ys)], axis=1) * self.output.scale
        width = self._style.line_width if linewidth is None else linewidth * self.output.scale
        segments = dashed(path_segments(points), linestyle, width)
        self._canvas.stroke([Stroke(segments, width, parse_color(color))])
        return self.output

    def draw_binary_mask(
        self,
        binary_mask: Any,
        color: ColorLike | None = None,
        *,
        edge_color: ColorLike | None = None,
        text: str | None = None,
        alpha: float = 0.5,
        area_threshold: float | None = 0,
    ) -> VisImage:
        """Lay a mask over the picture.

        Args:
            binary_mask: (H, W) of the image's size, 0 or 1.
            color: colour of the mask; by default the next one of the palette.
            edge_color: colour of its border, by default a darker shade.
            text: written in the middle of the mask's largest part and of other large ones.
            alpha: opacity of the mask, 0..1.
            area_threshold: connected parts of fewer pixels are left out.
        """
        mask = crop_to_content(_full_mask(binary_mask, *self._image_size))
        if area_threshold and mask.pixels.size:
            mask = mask._replace(pixels=without_small_components(mask.pixels, area_threshold))
        fill = palette_color(self._drawn_masks) if color is None else parse_color(color)
        edge = edge_color_for(fill) if edge_color is None else parse_color(edge_color)
        self._drawn_masks += color is None
        silhouette = binary_silhouette(mask, self._image_size, self.output.scale)
        paint(self._canvas, [silhouette], [(fill, edge)], alpha, self._style.edge_width)
        if text:
            for point in self._text_points(mask):
                self._canvas.lay(label_patches(self._layout, self._style, text, fill, point=point))
        return self.output

    def draw_polygon(
        self,
        segment: Any,
        color: ColorLike,
        edge_color: ColorLike | None = None,
        alpha: float = 0.5,
    ) -> VisImage:
        """Fill and border a polygon.

        Args:
            segment: (P, 2) corners, P >= 3.
            color: colour of the inside.
            edge_color: colour of the border, by default a darker shade.
            alpha: opacity of the inside, 0..1.
        """
        corners = [read_polygon(as_array(segment)) * self.output.scale]
        silhouette = polygon_silhouette(corners, self.output.height, self.output.width)
        fill = parse_color(color)
        edge = edge_color_for(fill) if edge_color is None else parse_color(edge_color)
        paint(self._canvas, [silhouette], [(fill, edge)], alpha, self._style.edge_width)
        return self.output

    def draw_and_connect_keypoints(self, keypoints: Any) -> VisImage:
        """Draw the keypoints of one instance and the lines that the metadata asks for.

        Args:
            keypoints: (K, 3) of x, y and probability; points of at most 0.05 are left out.
                ``metadata.keypoint_names`` and ``metadata.keypoint_connection_rules`` say which
                are joined, in which colour.
        """
        points = read_keypoints(as_array(keypoints)[None])[0]
        points[:, :2] *= self.output.scale
        self._canvas.stroke(self._skeleton().strokes(points, self._style))
        return self.output

    def _skeleton(self) -> Any:
        return read_skeleton(
            getattr(self.metadata, "keypoint_names", None),
            getattr(self.metadata, "keypoint_connection_rules", None),
        )

    def _text_points(self, mask: BinaryMask) -> list[tuple[float, float]]:
        """Where to write in a mask, in output pixels: in its largest part and in large ones."""
        large = _LARGE_PART * self.img.shape[0] * self.img.shape[1]
        parts = find_components(mask.pixels)
        chosen = [part for i, part in enumerate(parts) if i == 0 or part.area >= large]
        scale = self.output.scale
        return [((p.anchor[0] + mask.x0) * scale, (p.anchor[1] + mask.y0) * scale) for p in chosen]

    @staticmethod
    def _finite(numbers: Any) -> NDArray[np.float64]:
        array = as_array(numbers).astype(np.float64)
        if not np.isfinite(array).all():
            raise ValueError(f"coordinates hold NaN or infinite values: {numbers!r}")
        return array


def _full_mask(binary_mask: Any, height: int, width: int) -> NDArray[np.bool_]:
    mask = as_array(binary_mask)
    if mask.shape != (height, width):
        raise ValueError(f"binary_mask must have shape ({height}, {width}), got {mask.shape}")
    return np.ascontiguousarray(mask if mask.dtype == np.bool_ else mask > 0.5)
