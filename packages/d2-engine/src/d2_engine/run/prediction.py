"""The one prediction of a run: on pictures, videos and cameras."""

import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import attrs

from d2_engine.defaults.predictor import DefaultPredictor
from d2_engine.run.pictures import Picture
from d2_engine.run.prediction_drawing import Draw, kept, picture_drawing, told, video_drawing
from d2_engine.run.prediction_files import PredictionFiles
from d2_engine.run.videos import SteadyVideo, VideoFile, VideoSource, Window
from d2_eval import progress

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

    def add(self, outputs: Any, sure: Any) -> None:
        """Take in a model's outputs and what was kept of them."""
        if "instances" not in outputs:
            return
        self.instances += len(sure["instances"])
        scores = outputs["instances"].scores
        if len(scores):
            self.best_score = max(self.best_score or 0.0, float(scores.max()))


class UnreadablePicturesError(OSError):
    """Pictures that could not be read; the others have been predicted.

    Attributes:
        reasons: what was wrong with each.
    """

    def __init__(self, reasons: Sequence[str], total: int, folder: Path) -> None:
        if total == 1:
            text = f"the picture could not be read: {reasons[0]}"
        elif len(reasons) == total:
            text = f"none of the {total} pictures could be read:\n  " + "\n  ".join(reasons)
        else:
            text = (
                f"{len(reasons)} of {total} pictures could not be read, the others are in "
                f"{folder}:\n  " + "\n  ".join(reasons)
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
        pictures: to look at; one that cannot be read does not keep the others from it.
        folder: for drawn pictures, ``NAME.png``, and the files of
            :class:`~d2_engine.run.prediction_files.PredictionFiles`.
        confidence: the lowest score of instances that are kept, 0 to 1.
        scale: size of the drawn pictures relative to the images.
        tell: is told of each picture.

    Returns:
        How much was found.

    Raises:
        UnreadablePicturesError: in the end, if a picture could not be read.
        ValueError: if a drawn picture would take the place of one of ``pictures``, or the model's
            outputs cannot be drawn.
    """
    folder = Path(folder)
    _check_nothing_is_replaced(pictures, folder)
    folder.mkdir(parents=True, exist_ok=True)
    files = PredictionFiles(folder, predictor.metadata)
    draw = picture_drawing(predictor.metadata, scale)
    found = Found()
    unreadable: list[str] = []
    for picture in progress(pictures, description="predict", unit="picture"):
        try:
            image = picture.read()
        except Exception as error:  # whatever a decoder makes of a damaged file
            reason = str(error)
            named = str(picture.path) in reason
            unreadable.append(reason if named else f"{picture.path}: {reason}")
            tell(f"{picture.path}: could not be read")
            continue
        all_outputs = predictor(image)
        outputs = kept(all_outputs, confidence)
        found.add(all_outputs, outputs)
        target = folder / f"{picture.name}.png"
        draw(image[:, :, ::-1], outputs).save(target)
        files.add(str(picture.path), picture.name, image.shape[:2], outputs)
        tell(f"{picture.path}: {told(outputs)} -> {target}")
    files.write()
    if unreadable:
        raise UnreadablePicturesError(unreadable, len(pictures), folder)
    return found


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
