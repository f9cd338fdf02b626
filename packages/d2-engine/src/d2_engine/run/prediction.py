"""The one prediction of a run: on pictures, videos and cameras."""

import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import attrs
import numpy as np
import numpy.typing as npt

from d2_config.files import naming_full_disk
from d2_engine.defaults.predictor import DefaultPredictor
from d2_engine.run.pictures import Picture
from d2_engine.run.prediction_drawing import Draw, kept, picture_drawing, told, video_drawing
from d2_engine.run.prediction_files import PredictionFiles
from d2_engine.run.videos import SteadyVideo, VideoFile, VideoSource, Window
from d2_eval import progress
from d2_eval.live import ProgressBar

_CAMERA_RATE = 15.0

Tell = Callable[[str], object]


@attrs.define
class Found:
    """What was found in pictures altogether.

    Attributes:
        instances: number of those that were sure enough.
        best_score: the highest score of any; None if there was no instance at all.
    """

    instances: int = 0
    best_score: float | None = None

    def sure_of(self, outputs: Any, confidence: float) -> dict[str, Any]:
        """Take in a model's outputs; return what is sure enough of them."""
        sure = kept(outputs, confidence)
        if "instances" in outputs:
            self.instances += len(sure["instances"])
            scores = outputs["instances"].scores
            if len(scores):
                self.best_score = max(self.best_score or 0.0, float(scores.max()))
        return sure


class BadPicturesError(OSError):
    """Pictures that could not be read, or that the model failed on; the others are done.

    Attributes:
        reasons: what was wrong with each.
    """

    def __init__(self, reasons: Sequence[str], total: int, folder: Path) -> None:
        listed = "\n  ".join(reasons)
        if total == 1:
            text = listed
        elif len(reasons) == total:
            text = f"nothing could be done with any of the {total} pictures:\n  {listed}"
        else:
            text = (
                f"nothing could be done with {len(reasons)} of {total} pictures, the others are "
                f"in {folder}:\n  {listed}"
            )
        super().__init__(text)
        self.reasons = tuple(reasons)


def predict_pictures(
    predictor: DefaultPredictor,
    pictures: Sequence[Picture],
    folder: str | os.PathLike[str],
    *,
    confidence: float = 0.5,
    scale: float = 1.0,
    tell: Tell = print,
) -> Found:
    """Predict on pictures and write them, drawn, and what was found into a folder.

    Args:
        predictor: of the model.
        pictures: to look at; a bad one does not end the others.
        folder: for drawn pictures, ``NAME.png``, and the files of
            :class:`~d2_engine.run.prediction_files.PredictionFiles`.
        confidence: the lowest score of instances that are kept, 0 to 1.
        scale: size of the drawn pictures relative to the images.
        tell: is told of each picture.

    Returns:
        How much was found.

    Raises:
        BadPicturesError: in the end, if a picture could not be read or the model failed on it.
        ValueError: if a drawn picture would take the place of one of ``pictures``, or the model's
            outputs cannot be drawn.
    """
    folder = Path(folder)
    _check_nothing_is_replaced(pictures, folder)
    folder.mkdir(parents=True, exist_ok=True)
    files = PredictionFiles(folder, predictor.metadata)
    draw = picture_drawing(predictor.metadata, scale)
    found = Found()
    bad: list[str] = []
    with ProgressBar("predict", len(pictures), unit="picture") as bar:
        try:
            for picture in pictures:
                seen = _seen(predictor, picture)
                if isinstance(seen, str):
                    bad.append(seen)
                    tell(seen)
                else:
                    image, outputs = seen.image, found.sure_of(seen.outputs, confidence)
                    target = folder / f"{picture.name}.png"
                    with naming_full_disk(target):
                        draw(image[:, :, ::-1], outputs).save(target)
                    files.add(str(picture.path), picture.name, image.shape[:2], outputs)
                    tell(f"{picture.path}: {told(outputs)} -> {target}")
                bar.advance()
        except KeyboardInterrupt:  # what has been found so far is not lost
            files.write()
            raise
    files.write()
    if bad:
        raise BadPicturesError(bad, len(pictures), folder)
    return found


class _Seen(NamedTuple):
    image: npt.NDArray[np.uint8]
    outputs: Any


def _seen(predictor: DefaultPredictor, picture: Picture) -> _Seen | str:
    """What the model makes of a picture, or what is wrong with that."""
    trouble = "the picture could not be read"
    try:
        image = picture.read()
        trouble = "the model fails on this picture"
        return _Seen(image, predictor(image))
    except Exception as error:  # whatever a decoder or a model makes of a strange picture
        text = str(error) or type(error).__name__
        where = "" if str(picture.path) in text else f"{picture.path}: "
        return f"{trouble}: {where}{text}"


def predict_video(
    predictor: DefaultPredictor,
    source: str,
    folder: str | os.PathLike[str],
    *,
    confidence: float = 0.5,
) -> Path:
    """Predict on the frames of a video and write the drawn video and what was found.

    Args:
        predictor: of the model.
        source: a file, or the URL of a stream.
        folder: for ``NAME.mp4`` and the files of
            :class:`~d2_engine.run.prediction_files.PredictionFiles`.
        confidence: the lowest score of instances that are kept, 0 to 1.

    Returns:
        The path of the drawn video.

    Raises:
        ImportError: if OpenCV is not installed.
        OSError: if the video cannot be read, or the drawn one not written.
        ValueError: if the drawn video would take the place of the one that is read, or the
            model's outputs cannot be drawn.
    """
    target = Path(folder) / f"{Path(source).stem}.mp4"
    if target.resolve() == Path(source).resolve():
        raise ValueError(f"the drawn video would replace {source}: choose another --output")
    with VideoSource(source) as video:
        target.parent.mkdir(parents=True, exist_ok=True)
        files = PredictionFiles(folder, predictor.metadata)
        draw = video_drawing(predictor.metadata)
        frames = progress(video, video.frame_count, "predict", unit="frame")
        with VideoFile(target, video.frames_per_second) as drawn:
            for number, frame in enumerate(frames):
                outputs = kept(predictor(frame), confidence)
                drawn.write(draw(frame[:, :, ::-1], outputs).get_image())
                name = f"{target.stem}_{number:06d}"
                files.add(source, name, frame.shape[:2], outputs, frame=number)
        files.write()
    return target


def predict_camera(
    predictor: DefaultPredictor,
    number: int,
    folder: str | os.PathLike[str],
    *,
    confidence: float = 0.5,
    clock: Callable[[], float] = time.perf_counter,
) -> Path:
    """Predict on what a camera sees until Ctrl-C, or q in the window; write the drawn video.

    Args:
        predictor: of the model.
        number: of the camera, from 0.
        folder: for ``webcam.mp4``.
        confidence: the lowest score of instances that are kept, 0 to 1.
        clock: seconds that only grow.

    Returns:
        The path of the drawn video.

    Raises:
        ImportError: if OpenCV is not installed.
        OSError: if there is no such camera, or the video cannot be written.
        ValueError: if the model's outputs cannot be drawn.
    """
    target = Path(folder) / "webcam.mp4"
    with VideoSource(number) as camera:
        target.parent.mkdir(parents=True, exist_ok=True)
        draw = video_drawing(predictor.metadata)
        with VideoFile(target, _CAMERA_RATE) as file:
            video = SteadyVideo(file, _CAMERA_RATE, clock)
            _watch(predictor, camera, draw, video, confidence)
    return target


def _watch(
    predictor: DefaultPredictor,
    camera: VideoSource,
    draw: Draw,
    video: SteadyVideo,
    confidence: float,
) -> None:
    window = Window("d2 predict")
    try:
        for frame in progress(camera, description="webcam", unit="frame"):
            picture = draw(frame[:, :, ::-1], kept(predictor(frame), confidence)).get_image()
            video.write(picture)
            window.show(picture)
            if window.is_closed:
                return
    except KeyboardInterrupt:  # how one stops looking
        return


def _check_nothing_is_replaced(pictures: Iterable[Picture], folder: Path) -> None:
    pictures = list(pictures)
    sources = {picture.path.resolve() for picture in pictures}
    for picture in pictures:
        target = (folder / f"{picture.name}.png").resolve()
        if target in sources:
            raise ValueError(
                f"the drawn picture would replace {target}: choose another --output than the "
                "folder of the pictures"
            )
