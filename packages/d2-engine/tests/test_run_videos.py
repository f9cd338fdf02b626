"""Reading and writing videos."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from d2_engine.run.videos import SteadyVideo, VideoFile, VideoSource, Window, import_opencv


def frame(value, height=48, width=64):
    return np.full((height, width, 3), value, np.uint8)


def test_a_video_is_read_as_it_was_written(tmp_path):
    pytest.importorskip("cv2")
    with VideoFile(tmp_path / "clip.mp4", 10) as video:
        for value in (0, 100, 200):
            picture = frame(value)
            picture[:, :, 0] = 0  # RGB
            video.write(picture)
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]
    with VideoSource(str(tmp_path / "clip.mp4")) as source:
        assert source.frames_per_second == pytest.approx(10)
        assert source.frame_count == 3
        frames = [image.mean(axis=(0, 1)) for image in source]
    wanted = [[0, 0, 0], [100, 100, 0], [200, 200, 0]]  # BGR
    np.testing.assert_allclose(frames, wanted, atol=12)


def test_what_is_no_video_is_named(tmp_path):
    pytest.importorskip("cv2")
    (tmp_path / "clip.mp4").write_text("no video")
    with pytest.raises(OSError, match="clip.mp4 cannot be opened: OpenCV cannot decode it"):
        VideoSource(str(tmp_path / "clip.mp4"))


# ------------------------------------------------------------- without OpenCV


class FakeCapture:
    """Gives frames and answers of a camera."""

    def __init__(self, frames, opened=True, rate=0.0):
        self.frames = list(frames)
        self.opened = opened
        self.rate = rate
        self.released = False

    def isOpened(self):
        return self.opened

    def get(self, what):
        return {"rate": self.rate, "count": -1.0}[what]

    def read(self):
        return (True, self.frames.pop(0)) if self.frames else (False, None)

    def release(self):
        self.released = True


class FakeWriter:
    """Writes a byte for each frame into the file."""

    works = True

    def __init__(self, path, codec, rate, size):
        self.file = open(path, "wb") if self.works else None  # noqa: SIM115  closed by release

    @staticmethod
    def fourcc(*letters):
        return "".join(letters)

    def isOpened(self):
        return self.works

    def write(self, picture):
        assert picture.flags.c_contiguous
        self.file.write(bytes([picture[0, 0, 2]]))

    def release(self):
        if self.file is not None:
            self.file.close()


@pytest.fixture
def opencv(monkeypatch):
    """A module that stands for cv2; its ``capture`` is what is opened."""
    module = SimpleNamespace(
        CAP_PROP_FPS="rate",
        CAP_PROP_FRAME_COUNT="count",
        capture=FakeCapture([frame(1), frame(2)]),
        VideoWriter=type("Writer", (FakeWriter,), {}),
        error=RuntimeError,
    )

    def capture(source):
        if not str(source).endswith(".part.mp4"):
            return module.capture
        written = FakeCapture([])
        written.get = lambda what: float(Path(source).stat().st_size)  # of FakeWriter
        return written

    module.VideoCapture = capture
    monkeypatch.setitem(sys.modules, "cv2", module)
    return module


def test_a_camera_gives_frames_until_it_ends_and_is_let_go(opencv):
    with VideoSource(0) as camera:
        assert [image[0, 0, 0] for image in camera] == [1, 2]
        assert camera.frames_per_second == 25
        assert camera.frame_count is None
    assert opencv.capture.released


def test_a_camera_that_is_not_there_is_named(opencv):
    opencv.capture.opened = False
    with pytest.raises(OSError, match="camera 3 cannot be opened: is it connected"):
        VideoSource(3)


def test_a_missing_video_is_named(opencv):
    with pytest.raises(FileNotFoundError, match="there is no video nowhere.mp4"):
        VideoSource("nowhere.mp4")


def test_a_stream_is_left_to_opencv(opencv):
    with VideoSource("rtsp://camera/stream") as stream:
        assert len(list(stream)) == 2


def test_a_video_without_frames_is_an_error(opencv):
    opencv.capture.frames = []
    with VideoSource(0) as camera, pytest.raises(OSError, match="camera 0 has no frames"):
        list(camera)


def test_frames_of_another_size_are_refused(opencv, tmp_path):
    with VideoFile(tmp_path / "clip.mp4", 10) as video:
        video.write(frame(1))
        with pytest.raises(ValueError, match=r"a frame is of \(32, 48\) pixels, those before"):
            video.write(frame(1, width=32))


def test_a_video_is_there_whole_or_not_at_all(opencv, tmp_path):
    (tmp_path / "clip.mp4").write_bytes(b"old")

    def interrupted():
        with VideoFile(tmp_path / "clip.mp4", 10) as video:
            video.write(frame(1))
            raise KeyError

    with pytest.raises(KeyError):
        interrupted()
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]
    assert (tmp_path / "clip.mp4").read_bytes() == b"old"


def test_a_video_that_cannot_be_written_is_named(opencv, tmp_path):
    opencv.VideoWriter.works = False
    with (
        pytest.raises(OSError, match="cannot write the video .*clip.mp4"),
        VideoFile(tmp_path / "clip.mp4", 10) as video,
    ):
        video.write(frame(1))


def test_frames_that_come_late_are_repeated(opencv, tmp_path):
    times = iter([5.0, 5.1, 5.5, 5.5])
    path = tmp_path / "clip.mp4"
    with VideoFile(path, 10) as video:
        steady = SteadyVideo(video, 10, lambda: next(times))
        for value in (1, 2, 3, 4):
            steady.write(frame(value))
    assert path.read_bytes() == bytes([1, 2, 3, 3, 3, 3, 4])


@pytest.mark.parametrize(("key", "closed"), [(-1, False), (ord("q"), True), (27, True)])
def test_a_window_is_closed_by_q_and_escape(opencv, key, closed):
    shown = []
    opencv.imshow = lambda title, picture: shown.append(picture)
    opencv.waitKey = lambda milliseconds: key
    window = Window("d2")
    window.show(np.array([[[1, 2, 3]]], np.uint8))
    assert shown[0].tolist() == [[[3, 2, 1]]]
    assert window.is_closed is closed


def test_without_windows_nothing_is_shown(opencv):
    tries = []

    def refuse(title, picture):
        tries.append(title)
        raise opencv.error("no windows")

    opencv.imshow = refuse
    window = Window("d2")
    window.show(frame(1))
    window.show(frame(2))
    assert len(tries) == 1
    assert not window.is_closed


def test_without_opencv_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ImportError, match=r"pip install 'd2-engine\[video\]'"):
        import_opencv()
