"""Files that are named by URL."""

import errno
import hashlib
import io
import urllib.error
from email.message import Message
from pathlib import Path

import pytest

from d2_config.files import cache_folder, download, fetch, local_path, web_address

CONTENT = b"content"
ZOO_PREFIX = "https://dl.fbaipublicfiles.com/detectron2/"
URL = f"{ZOO_PREFIX}m.pkl"


class Server:
    """Answers requests; breaks connections off after some bytes; remembers what was asked."""

    def __init__(self, contents: dict[str, bytes]) -> None:
        self.contents = contents
        self.asked: list[tuple[str, str | None]] = []
        self.breaks: list[int] = []
        self.ranges = True
        self.etag: str | None = '"1"'
        self.refusal = io.BytesIO(b"no such range")

    def __call__(self, request, timeout):
        url, headers = request.full_url, dict(request.header_items())
        wanted = headers.get("Range")
        self.asked.append((url, wanted))
        if url not in self.contents:
            raise urllib.error.URLError("Name or service not known")
        content, begin, status = self.contents[url], 0, 200
        if wanted is not None and self.ranges and headers["If-range"] == self.etag:
            begin, status = int(wanted.removeprefix("bytes=").removesuffix("-")), 206
            if begin >= len(content):
                raise urllib.error.HTTPError(url, 416, "No such range", Message(), self.refusal)
        end = begin + self.breaks.pop(0) if self.breaks else len(content)
        response = io.BytesIO(content[begin:end])
        response.status = status
        response.headers = Message()
        response.headers["Content-Length"] = str(len(content) - begin)
        if status == 206:
            response.headers["Content-Range"] = f"bytes {begin}-{len(content) - 1}/{len(content)}"
        if self.etag:
            response.headers["ETag"] = self.etag
        return response


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path) -> Path:
    """An empty cache folder, and no network."""
    monkeypatch.setenv("D2_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(download, "urlopen", Server({}))
    return tmp_path / "cache"


@pytest.fixture
def server(monkeypatch) -> Server:
    """A server that has one file."""
    made = Server({URL: CONTENT})
    monkeypatch.setattr(download, "urlopen", made)
    return made


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
    assert local_path("https://me:secret@example.org:81/m.pkl") == cache / "example.org:81/m.pkl"
    assert local_path("catalog://FAIR/R-50-GN") == cache / "catalog" / "FAIR" / "R-50-GN.pkl"
    assert local_path("some/file.pth") == Path("some/file.pth")


def test_urls_that_differ_in_their_query_are_different_files(server):
    urls = [f"https://a.org/m.pth{query}" for query in ("", "?v=1", "?v=2")]
    server.contents = {url: url.encode() for url in urls}
    kept = [fetch(url) for url in urls]
    assert [file.read_text() for file in kept] == urls
    assert all(file.suffix == ".pth" for file in kept)


def test_a_url_is_downloaded_once(server, cache):
    first, second = fetch("detectron2://m.pkl"), fetch(URL)
    assert first == second == cache / "detectron2" / "m.pkl"
    assert first.read_bytes() == CONTENT
    assert server.asked == [(URL, None)]
    assert files_in(cache) == [first]


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
    by_hand.write_bytes(CONTENT)
    assert fetch("catalog://ImageNetPretrained/FAIR/R-50-GN") == by_hand


def test_a_download_that_breaks_off_goes_on_where_it_was(server, cache):
    server.breaks = [3, 2]
    assert fetch(URL).read_bytes() == CONTENT
    assert [wanted for _, wanted in server.asked] == [None, "bytes=3-", "bytes=5-"]
    assert len(files_in(cache)) == 1


def test_the_next_call_goes_on_where_the_last_one_gave_up(server, cache):
    server.breaks = [3, 0]
    with pytest.raises(ConnectionError, match="after 3 of 7 bytes"):
        fetch(URL)
    assert not local_path(URL).exists()
    server.breaks = []
    assert fetch(URL).read_bytes() == CONTENT
    assert server.asked[-1] == (URL, "bytes=3-")


def test_another_file_on_the_server_is_downloaded_from_its_beginning(server):
    server.breaks = [3, 0]
    with pytest.raises(ConnectionError):
        fetch(URL)
    server.breaks, server.etag, server.contents = [], '"2"', {URL: b"another"}
    assert fetch(URL).read_bytes() == b"another"


@pytest.mark.parametrize("change", [{"ranges": False}, {"etag": None}])
def test_a_server_that_cannot_go_on_begins_again(server, change):
    for name, value in change.items():
        setattr(server, name, value)
    server.breaks = [3, 5]
    assert fetch(URL).read_bytes() == CONTENT


def test_a_part_that_is_longer_than_the_file_is_dropped(server):
    server.breaks = [6, 0]
    with pytest.raises(ConnectionError):
        fetch(URL)
    server.breaks, server.contents = [], {URL: b"short"}
    assert fetch(URL).read_bytes() == b"short"
    assert server.refusal.closed


def test_a_full_disk_is_named_and_leaves_what_came(server, monkeypatch, cache):
    def no_space(response, file):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(download, "_copy", no_space)
    with pytest.raises(OSError, match=r"no space left .*m\.pkl"):
        fetch(URL)
    assert not local_path(URL).exists()


def named_by(algorithm: str, count: int | None = None) -> str:
    return hashlib.new(algorithm, CONTENT).hexdigest()[:count]


@pytest.mark.parametrize(
    "name",
    [
        f"model_final_{named_by('md5')}.pkl",
        f"model_{named_by('sha1')}.pkl",
        f"model.{named_by('sha256')}.pkl",
        f"resnet50-{named_by('sha256', 8)}.pth",
        f"resnet50-{named_by('sha256', 16)}.pth",
    ],
)
def test_content_is_compared_with_the_digest_in_its_name(server, cache, name):
    url = f"https://a.org/{name}"
    server.contents = {url: CONTENT}
    assert fetch(url).read_bytes() == CONTENT
    wrong = url.replace(url[-12:-4], "0" * 8)
    server.contents = {wrong: CONTENT}
    with pytest.raises(ValueError, match="damaged, or another file than was published"):
        fetch(wrong)
    assert files_in(cache) == [local_path(url)]


@pytest.mark.parametrize("query", ["?a=1", "?X-Signature=0123456789abcdef0123456789abcdef"])
def test_a_query_does_not_hide_the_digest_in_the_name(server, cache, query):
    for digits in (named_by("sha256", 8), named_by("sha256"), named_by("md5"), named_by("sha1")):
        url = f"https://a.org/resnet50-{digits}.pth{query}"
        server.contents = {url: CONTENT}
        assert fetch(url).read_bytes() == CONTENT
        fetch(url).write_bytes(b"damaged")
        assert fetch(url).read_bytes() == CONTENT
    url = f"https://a.org/resnet50-00000000.pth{query}"
    server.contents = {url: CONTENT}
    with pytest.raises(ValueError, match="damaged, or another file than was published"):
        fetch(url)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("model_final_000000.pkl", True),
        (f"model_final_{named_by('md5', 6)}.pkl", False),
        ("model_20200131.pkl", False),
    ],
)
def test_short_digits_of_unknown_making_prove_nothing(server, caplog, name, said):
    url = f"{ZOO_PREFIX}{name}"
    server.contents = {url: CONTENT}
    with caplog.at_level("INFO"):
        assert fetch(url).is_file()
    assert ("begins with 000000" in caplog.text) == said


def test_a_damaged_download_is_replaced_and_a_sound_one_is_not(server, caplog):
    expected = named_by("sha256")
    fetch(URL, sha256=expected).write_bytes(b"damaged")
    assert fetch(URL, sha256=expected).read_bytes() == CONTENT
    assert "m.pkl is damaged" in caplog.text
    assert fetch(URL, sha256=expected.upper()).read_bytes() == CONTENT
    assert len(server.asked) == 2


def test_what_is_not_what_was_expected_is_refused(server, cache, tmp_path):
    with pytest.raises(ValueError, match="wanted 0000"):
        fetch(URL, sha256="0" * 64)
    assert files_in(cache) == []
    (tmp_path / "m.pkl").write_bytes(CONTENT)
    with pytest.raises(ValueError, match="wanted 0000"):
        fetch(str(tmp_path / "m.pkl"), sha256="0" * 64)
    with pytest.raises(ValueError, match="64 hexadecimal digits, got 'abc'"):
        fetch(URL, sha256="abc")


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "s3://bucket/m.pkl",
        f"{ZOO_PREFIX}../../m.pkl",
        "https://a.org/",
        "https://../m.pkl",
        "https:///m.pkl",
        "https://a.org:x/m.pkl",
        "catalog://../m",
    ],
)
def test_other_urls_are_refused(url):
    with pytest.raises(ValueError, match="wanted a file|names no file|cannot read"):
        fetch(url)


def test_a_short_url_has_a_web_address():
    assert web_address("detectron2://Misc/m.pkl") == f"{ZOO_PREFIX}Misc/m.pkl"
    assert web_address(URL) == URL
    with pytest.raises(ValueError, match="wanted a file, or a URL that begins with https://"):
        web_address("s3://bucket/m.pkl")
