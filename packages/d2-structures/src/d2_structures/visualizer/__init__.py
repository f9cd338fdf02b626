"""Pictures of boxes, masks, keypoints and labels, drawn with Pillow and host kernels."""

from .color_mode import ColorMode
from .drawing import Visualizer
from .fonts import font_for
from .palette import palette_color
from .video import VideoVisualizer
from .vis_image import VisImage

__all__ = ["ColorMode", "VideoVisualizer", "VisImage", "Visualizer", "font_for", "palette_color"]
