"""Videos and cameras, by OpenCV."""

import math
import os
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from d2_config.files import full_disk_error

_CODEC = "mp4v"
"""The one of MP4 files that every build of OpenCV has."""

_USUAL_RATE = 25.0


class VideoSource:
    """The frames of a video file, a stream or a camera; to be used in a ``with`` block.

    Args:
        source: a file, the URL of a stream, or the number of a camera.

    Attributes:
        frames_per_second: 25 where the source does not say.
        frame_count: None where the source does not say, as cameras do not.

    Raises:
        ImportError: if OpenCV is not installed; says how to install it.
        FileNotFoundError: if there is no such file.
        OSError: if it is no video, or there is no such camera.
    """

    def __init__(self, source: str | int) -> None:
        cv2 = import_opencv()
        self._what = f"camera {source}" if isinstance(source, int) else f"the video {source}"
        if isinstance(source, str) and "://" not in source and not Path(source).is_file():
            raise FileNotFoundError(f"there is no video {source}")
        self._capture = cv2.VideoCapture(source)
        if not self._capture.isOpened():
            reason = (
                "is it connected, and not in use? (--webcam 1 takes the second one)"
                if isinstance(source, int)
                else "OpenCV cannot decode it"
            )
            raise OSError(f"{self._what} cannot be opened: {reason}")
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.frames_per_second = rate if math.isfinite(rate) and rate > 0 else _USUAL_RATE
        self.frame_count = int(count) if math.isfinite(count) and count > 0 else None

    def __iter__(self) -> Iterator[npt.NDArray[np.uint8]]:
        """Give the frames, (H, W, 3), BGR."""
        found = False
        while True:
            there, frame = self._capture.read()
            if not there:
                break
            found = True
            yield frame
        if not found:
            raise OSError(f"{self._what} has no frames that can be read")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._capture.release()


class VideoFile:
    """An MP4 file being written, to be used in a ``with`` block: there whole or not at all.

    Args:
        path: ends in ``.mp4``.
        frames_per_second: of the video.
    """

    def __init__(self, path: str | os.PathLike[str], frames_per_second: float) -> None:
        self._path = Path(path)
        self._part = self._path.with_name(f".{self._path.stem}.part.mp4")
        self._rate = frames_per_second
        self._writer: Any = None
        self._size: tuple[int, int] = (0, 0)
        self._frames = 0

    def write(self, frame_rgb: npt.NDArray[np.uint8]) -> None:
        """Append a frame, (H, W, 3), RGB, of the size of the first.

        Raises:
            OSError: if OpenCV cannot write the file.
            ValueError: if the frame has another size.
        """
        size = (frame_rgb.shape[1], frame_rgb.shape[0])
        if self._writer is None:
            self._open(size)
        if size != self._size:
            raise ValueError(f"a frame is of {size} pixels, those before of {self._size}")
        self._writer.write(np.ascontiguousarray(frame_rgb[:, :, ::-1]))
        self._frames += 1

    def _open(self, size: tuple[int, int]) -> None:
        cv2 = import_opencv()
        codec = cv2.VideoWriter.fourcc(*_CODEC)
        self._writer = cv2.VideoWriter(str(self._part), codec, self._rate, size)
        self._size = size
        if not self._writer.isOpened():
            raise OSError(f"OpenCV cannot write the video {self._path}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._writer is not None:
            self._writer.release()
        try:
            if exc_type is None and self._part.is_file():
                self._check_frames()
                os.replace(self._part, self._path)
        finally:
            self._part.unlink(missing_ok=True)

    def _check_frames(self) -> None:
        """Raise an error if not all frames are in the file: OpenCV says nothing of a full disk."""
        cv2 = import_opencv()
        written = cv2.VideoCapture(str(self._part))
        frames = int(written.get(cv2.CAP_PROP_FRAME_COUNT)) if written.isOpened() else 0
        written.release()
        if frames < self._frames:
            raise full_disk_error(self._path)


class SteadyVideo:
    """Writes frames that come when they come, so that the video plays as fast as life.

    Args:
        video: to write to.
        frames_per_second: of the video.
        clock: seconds that only grow.
    """

    def __init__(
        self, video: VideoFile, frames_per_second: float, clock: Callable[[], float]
    ) -> None:
        self._video = video
        self._rate = frames_per_second
        self._clock = clock
        self._began: float | None = None
        self._written = 0

    def write(self, frame_rgb: npt.NDArray[np.uint8]) -> None:
        """Write a frame as often as it takes to fill the time until now, at least once."""
        now = self._clock()
        if self._began is None:
            self._began = now
        due = max(self._written + 1, round((now - self._began) * self._rate) + 1)
        for _ in range(due - self._written):
            self._video.write(frame_rgb)
        self._written = due


class Window:
    """A window that shows frames, where OpenCV has been built with windows.

    Attributes:
        is_closed: whether q or Escape was pressed in it.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._cv2 = import_opencv()
        self.is_closed = False
        self.is_there = True

    def show(self, frame_rgb: npt.NDArray[np.uint8]) -> None:
        """Show a frame, (H, W, 3), RGB; nothing happens where there are no windows."""
        if not self.is_there:
            return
        try:
            self._cv2.imshow(self._title, np.ascontiguousarray(frame_rgb[:, :, ::-1]))
            self.is_closed = self._cv2.waitKey(1) & 0xFF in (ord("q"), 27)
        except self._cv2.error:  # opencv-python-headless has none, and a server no screen
            self.is_there = False


def import_opencv() -> Any:
    """Import OpenCV.

    Raises:
        ImportError: if it is not installed; says how to install it.
    """
    try:
        return import_module("cv2")
    except ModuleNotFoundError as error:
        raise ImportError(
            "videos and cameras need OpenCV, which is not installed: pip install 'd2-engine[video]'"
        ) from error
