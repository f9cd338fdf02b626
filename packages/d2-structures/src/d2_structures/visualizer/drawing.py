"""`Visualizer`: whole predictions and annotations laid over an image."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .array_input import as_array, read_boxes, read_keypoints, read_label_map
from .captions import instance_captions
from .color_mode import ColorMode
from .colors import Color, ColorLike, jittered, parse_color
from .components import without_small_components
from .dataset_dicts import read_annotations, read_panoptic_map, read_semantic_map
from .instance_layer import InstanceLayer, draw_instance_layer, edge_color_for, label_patches
from .mask_kinds import crop_to_content, read_masks
from .palette import palette_color
from .primitives import PrimitiveDrawing
from .segment_layer import MapRegion, category_color, panoptic_regions, semantic_regions
from .silhouettes import Silhouette, binary_silhouette, mask_silhouette, paint
from .vis_image import VisImage

__all__ = ["Visualizer"]

_MAP_EDGE = parse_color(("#fffff0", 0.7))


class Visualizer(PrimitiveDrawing):
    """Draws detections, segmentations and annotations over an image.

    ``draw_{text,box,circle,line,binary_mask,polygon}`` draw single objects;
    ``draw_{instance_predictions,sem_seg,panoptic_seg,dataset_dict}`` draw composite data in a
    style that may change between versions. Each returns ``output``, a :class:`VisImage`.
    """

    def __init__(
        self,
        img_rgb: Any,
        metadata: Any = None,
        scale: float = 1.0,
        instance_mode: ColorMode = ColorMode.IMAGE,
    ) -> None:
        """
        Args:
            img_rgb: (H, W, 3) image in RGB order, range 0..255. It is not written to.
            metadata: any object, or dict, with ``thing_classes``, ``thing_colors``,
                ``stuff_classes``, ``stuff_colors``, ``keypoint_names``,
                ``keypoint_connection_rules``, ``ignore_label``, ``label_divisor``; each is
                optional, and so is the object.
            scale: size of the picture relative to the image.
            instance_mode: how instances are coloured.
        """
        super().__init__(img_rgb, metadata, scale)
        self._instance_mode = ColorMode(instance_mode)
        self._jitters = 0

    def get_output(self) -> VisImage:
        """The picture with everything drawn so far."""
        return self.output

    def draw_instance_predictions(self, predictions: Any) -> VisImage:
        """Draw the instances a model found.

        Args:
            predictions: an ``Instances`` of the image's size. Drawn are the fields
                ``pred_boxes``, ``pred_classes``, ``scores``, ``pred_masks`` (or
                ``pred_masks_rle``) and ``pred_keypoints``, as far as present.
        """
        return self.draw_coloured_predictions(predictions, None)

    def draw_coloured_predictions(
        self, predictions: Any, assigned_colors: Sequence[Color] | None
    ) -> VisImage:
        """As :meth:`draw_instance_predictions`, in colours chosen by the caller.

        Args:
            predictions: an ``Instances`` of the image's size.
            assigned_colors: one for each instance; None leaves the choice to the mode.
        """
        if not predictions.get_fields():
            return self.output

        def field(name: str) -> Any:
            return predictions.get(name) if predictions.has(name) else None

        classes, scores = field("pred_classes"), field("scores")
        class_ids = None if classes is None else as_array(classes).tolist()
        score_list = None if scores is None else as_array(scores).tolist()
        masks = field("pred_masks_rle") if field("pred_masks") is None else field("pred_masks")
        if self._instance_mode is ColorMode.IMAGE_BW:
            self._canvas.desaturate(~self._union(self._silhouettes(masks) or []))
        if assigned_colors is None:
            assigned_colors = self.instance_colors(class_ids, len(predictions))
        names = getattr(self.metadata, "thing_classes", None)
        return self.overlay_instances(
            boxes=field("pred_boxes"),
            labels=instance_captions(class_ids, score_list, names),
            masks=masks,
            keypoints=field("pred_keypoints"),
            assigned_colors=assigned_colors,
            alpha=self._instance_alpha,
        )

    def draw_sem_seg(
        self, sem_seg: Any, area_threshold: float | None = None, alpha: float = 0.8
    ) -> VisImage:
        """Draw a semantic segmentation.

        Args:
            sem_seg: (H, W) integer tensor or array of class numbers.
            area_threshold: connected parts of fewer pixels are left out.
            alpha: opacity, 0..1; smaller is more transparent.
        """
        label_map = read_label_map(sem_seg, "sem_seg", *self._image_size)
        regions = semantic_regions(label_map, self.metadata)
        return self._draw_regions(regions, area_threshold, alpha)

    def draw_panoptic_seg(
        self,
        panoptic_seg: Any,
        segments_info: Sequence[dict[str, Any]] | None,
        area_threshold: float | None = None,
        alpha: float = 0.7,
    ) -> VisImage:
        """Draw a panoptic segmentation.

        Args:
            panoptic_seg: (H, W) integer tensor or array of segment ids.
            segments_info: a dict per segment with ``id``, ``category_id`` and optionally
                ``isthing`` (default True), ``score``, ``iscrowd``. None: the category of a pixel
                is its value divided by ``metadata.label_divisor``.
            area_threshold: parts of stuff of fewer pixels are left out.
            alpha: opacity, 0..1; smaller is more transparent.
        """
        label_map = read_label_map(panoptic_seg, "panoptic_seg", *self._image_size)
        regions = panoptic_regions(label_map, segments_info, self.metadata)
        if self._instance_mode is ColorMode.IMAGE_BW:
            covered = np.zeros(label_map.shape, bool)
            for region in regions:
                covered |= region.mask
            whole = binary_silhouette(crop_to_content(covered), self._image_size, self.output.scale)
            self._canvas.desaturate(~self._union([whole]))
        return self._draw_regions(regions, area_threshold, alpha)

    draw_panoptic_seg_predictions = draw_panoptic_seg

    def draw_dataset_dict(self, dic: dict[str, Any]) -> VisImage:
        """Draw the annotations of one image, in the standard dataset format.

        Args:
            dic: may hold ``annotations`` (boxes, segmentations, keypoints, classes),
                ``sem_seg`` or ``sem_seg_file_name``, and ``pan_seg`` or ``pan_seg_file_name``
                with ``segments_info``.
        """
        sem_seg = read_semantic_map(dic)
        if sem_seg is not None:
            self.draw_sem_seg(sem_seg, area_threshold=0, alpha=0.5)
        pan_seg = read_panoptic_map(dic)
        if pan_seg is not None:
            self.draw_panoptic_seg(pan_seg, dic.get("segments_info"), area_threshold=0, alpha=0.5)
        annotations = dic.get("annotations")
        if annotations:
            fields = read_annotations(annotations)
            names = getattr(self.metadata, "thing_classes", None)
            self.overlay_instances(
                boxes=fields.boxes,
                labels=instance_captions(fields.classes, None, names, fields.is_crowd),
                masks=fields.masks,
                keypoints=fields.keypoints,
                assigned_colors=self.instance_colors(fields.classes, len(annotations)),
                alpha=self._instance_alpha,
            )
        return self.output

    def overlay_instances(
        self,
        *,
        boxes: Any = None,
        labels: Sequence[str | None] | None = None,
        masks: Any = None,
        keypoints: Any = None,
        assigned_colors: Sequence[ColorLike] | None = None,
        alpha: float = 0.5,
    ) -> VisImage:
        """Draw N instances given as separate parts, all optional and of the same length.

        Args:
            boxes: ``Boxes``, ``RotatedBoxes``, or (N, 4) corners or (N, 5) rotated boxes.
            labels: the text for each instance; None for none.
            masks: ``PolygonMasks``, ``BitMasks``, a list of polygon lists, a list of (H, W)
                binary masks, a list of COCO RLE dicts, or an (N, H, W) tensor or array.
            keypoints: ``Keypoints`` or (N, K, 3) of x, y, visibility or score.
            assigned_colors: a colour for each instance; by default the palette's.
            alpha: opacity of the masks, 0..1.

        Raises:
            ValueError: if lengths or shapes do not fit.
            TypeError: for masks of an unknown kind.
        """
        return self._overlay(
            boxes=boxes,
            labels=labels,
            silhouettes=self._silhouettes(masks),
            keypoints=keypoints,
            colors=None if assigned_colors is None else [parse_color(c) for c in assigned_colors],
            alpha=alpha,
        )

    def overlay_rotated_instances(
        self,
        boxes: Any = None,
        labels: Sequence[str | None] | None = None,
        assigned_colors: Sequence[ColorLike] | None = None,
    ) -> VisImage:
        """Draw (N, 5) rotated boxes (x_center, y_center, width, height, angle_degrees).

        Args:
            boxes: ``RotatedBoxes`` or an array; None draws nothing.
            labels: the text for each; None for none.
            assigned_colors: a colour for each; by default the palette's.
        """
        if boxes is not None and read_boxes(boxes).size and read_boxes(boxes).shape[1] != 5:
            raise ValueError(f"rotated boxes must have shape (N, 5), got {as_array(boxes).shape}")
        return self.overlay_instances(boxes=boxes, labels=labels, assigned_colors=assigned_colors)

    def instance_colors(self, classes: Sequence[int] | None, count: int) -> list[Color]:
        """The colours that this mode gives to ``count`` instances of the given classes."""
        if self._instance_mode is not ColorMode.SEGMENTATION or classes is None:
            return [palette_color(index) for index in range(count)]
        known = getattr(self.metadata, "thing_colors", None)
        self._jitters = 0
        return [parse_color(self._jitter(category_color(c, known))) for c in classes]

    def _jitter(self, color: ColorLike) -> Color:
        """A near neighbour of a colour, another one at each call."""
        self._jitters += 1
        return jittered(parse_color(color), self._jitters - 1)

    @property
    def _instance_alpha(self) -> float:
        return 0.8 if self._instance_mode is ColorMode.SEGMENTATION else 0.5

    def _overlay(
        self,
        *,
        boxes: Any,
        labels: Sequence[str | None] | None,
        silhouettes: list[Silhouette] | None,
        keypoints: Any,
        colors: Sequence[Color] | None,
        alpha: float,
    ) -> VisImage:
        scale = self.output.scale
        if boxes is not None:
            boxes = read_boxes(boxes)
            boxes[:, :4] *= scale
        if keypoints is not None:
            keypoints = read_keypoints(keypoints)
            keypoints[..., :2] *= scale
        parts = {
            "boxes": boxes,
            "masks": silhouettes,
            "keypoints": keypoints,
            "labels": labels,
            "assigned_colors": colors,
        }
        lengths = {name: len(part) for name, part in parts.items() if part is not None}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"the parts differ in their number of instances: {lengths}")
        if not lengths or not next(iter(lengths.values())):
            return self.output
        if colors is None:
            colors = [palette_color(index) for index in range(next(iter(lengths.values())))]
        layer = InstanceLayer(colors, boxes, silhouettes, keypoints, labels)
        draw_instance_layer(self._canvas, self._layout, self._style, layer, self._skeleton(), alpha)
        return self.output

    def _silhouettes(self, masks: Any) -> list[Silhouette] | None:
        if masks is None:
            return None
        return [
            mask_silhouette(mask, self._image_size, self.output.scale)
            for mask in read_masks(masks, *self._image_size)
        ]

    def _union(self, silhouettes: Sequence[Silhouette]) -> NDArray[np.bool_]:
        """(height, width) of the output: where any silhouette covers half a pixel or more."""
        union = np.zeros((self.output.height, self.output.width), bool)
        for silhouette in silhouettes:
            x0, y0, x1, y1 = silhouette.rect
            part = union[y0:y1, x0:x1]
            part |= silhouette.coverage[: part.shape[0], : part.shape[1]] >= 128
        return union

    def _draw_regions(
        self, regions: Sequence[MapRegion], area_threshold: float | None, alpha: float
    ) -> VisImage:
        """Draw all regions, then all their texts, so that none is covered."""
        labels = []
        for region in regions:
            mask = crop_to_content(region.mask)
            if area_threshold and not region.is_thing:
                mask = mask._replace(pixels=without_small_components(mask.pixels, area_threshold))
            silhouette = binary_silhouette(mask, self._image_size, self.output.scale)
            edge = edge_color_for(region.color) if region.is_thing else _MAP_EDGE
            paint(self._canvas, [silhouette], [(region.color, edge)], alpha, self._style.edge_width)
            labels += [(region, point) for point in self._text_points(mask)]
        for region, point in labels:
            self._canvas.lay(
                label_patches(self._layout, self._style, region.text, region.color, point=point)
            )
        return self.output
