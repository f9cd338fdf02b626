"""Files that are named by URL."""

import hashlib
import io
import urllib.error
from email.message import Message
from pathlib import Path

import pytest

from d2_data import remote_files
from d2_data.remote_files import ZOO_PREFIX, cache_folder, fetch, local_path


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path) -> Path:
    """An empty cache folder, and no network."""
    monkeypatch.setenv("D2_CACHE", str(tmp_path / "cache"))
    serve(monkeypatch, {})
    return tmp_path / "cache"


def serve(monkeypatch, contents: dict[str, bytes], *, length: int | None = None) -> list[str]:
    """Answer requests for these URLs, saying that they are of another length; list requests."""
    asked: list[str] = []

    def answer(url: str, timeout: float):
        asked.append(url)
        if url not in contents:
            raise urllib.error.URLError("Name or service not known")
        response = io.BytesIO(contents[url])
        response.headers = Message()
        response.headers["Content-Length"] = str(length or len(contents[url]))
        return response

    monkeypatch.setattr(remote_files, "urlopen", answer)
    return asked


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({"D2_CACHE": "/a", "FVCORE_CACHE": "/b"}, "/a"),
        ({"D2_CACHE": "", "FVCORE_CACHE": "/b"}, "/b"),
        ({"XDG_CACHE_HOME": "/c"}, "/c/d2"),
    ],
)
def test_the_environment_chooses_the_cache_folder(monkeypatch, environment, folder):
    for name in ("D2_CACHE", "FVCORE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, environment.get(name, ""))
    assert cache_folder() == Path(folder)


def test_without_a_choice_the_cache_is_in_the_home_folder(monkeypatch):
    for name in ("D2_CACHE", "FVCORE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert cache_folder() == Path("~/.cache/d2").expanduser()


def test_files_are_cached_where_detectron2_caches_them(cache):
    kept = cache / "detectron2" / "Misc" / "m.pkl"
    assert local_path("detectron2://Misc/m.pkl") == kept
    assert local_path(f"{ZOO_PREFIX}Misc/m.pkl") == kept
    assert local_path("https://example.org/Misc/m.pkl") == cache / "example.org" / "Misc" / "m.pkl"
    assert local_path("catalog://FAIR/R-50-GN") == cache / "catalog" / "FAIR" / "R-50-GN.pkl"
    assert local_path("some/file.pth") == Path("some/file.pth")


def test_a_url_is_downloaded_once(monkeypatch, cache):
    url = f"{ZOO_PREFIX}m.pkl"
    asked = serve(monkeypatch, {url: b"content"})
    first, second = fetch("detectron2://m.pkl"), fetch(url)
    assert first == second == cache / "detectron2" / "m.pkl"
    assert first.read_bytes() == b"content"
    assert asked == [url]


def test_without_a_connection_the_message_says_where_to_put_the_file(cache):
    with pytest.raises(ConnectionError) as caught:
        fetch("detectron2://Misc/m.pkl")
    for part in (f"{ZOO_PREFIX}Misc/m.pkl", str(cache / "detectron2/Misc/m.pkl"), "D2_CACHE"):
        assert part in str(caught.value)
    assert files_in(cache) == []


def test_a_file_put_there_by_hand_is_taken(cache):
    by_hand = local_path("catalog://ImageNetPretrained/FAIR/R-50-GN")
    with pytest.raises(ConnectionError, match=str(by_hand)):
        fetch("catalog://ImageNetPretrained/FAIR/R-50-GN")
    by_hand.parent.mkdir(parents=True)
    by_hand.write_bytes(b"content")
    assert fetch("catalog://ImageNetPretrained/FAIR/R-50-GN") == by_hand


def test_a_download_that_was_cut_short_leaves_no_file(monkeypatch, cache):
    serve(monkeypatch, {f"{ZOO_PREFIX}m.pkl": b"content"}, length=1000)
    with pytest.raises(ConnectionError, match="after 7 of 1000 bytes"):
        fetch("detectron2://m.pkl")
    assert files_in(cache) == []


def test_content_is_compared_with_the_hash_in_its_name(monkeypatch, cache):
    md5 = hashlib.md5(b"content").hexdigest()
    urls = [f"{ZOO_PREFIX}model_final_{md5}.pkl", f"{ZOO_PREFIX}model_final_{'0' * 32}.pkl"]
    serve(monkeypatch, dict.fromkeys(urls, b"content"))
    assert fetch(urls[0]).is_file()
    with pytest.raises(ValueError, match=rf"damaged.*{md5}"):
        fetch(urls[1])
    assert files_in(cache) == [local_path(urls[0])]


def test_a_short_hash_that_differs_is_only_reported(monkeypatch, caplog):
    url = f"{ZOO_PREFIX}model_final_000000.pkl"
    serve(monkeypatch, {url: b"content"})
    assert fetch(url).is_file()
    assert "does not begin with 000000" in caplog.text


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "s3://bucket/m.pkl", f"{ZOO_PREFIX}../../m.pkl", "https://a.org/"]
)
def test_other_urls_are_refused(url):
    with pytest.raises(ValueError, match="wanted a file|names no file"):
        fetch(url)
