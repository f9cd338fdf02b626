"""Look at the built site: dead links, and in a browser errors and pages that do not fit.

python check_site.py SITE [--screenshots FOLDER]
"""

import argparse
import contextlib
import functools
import http.server
import importlib.util
import shutil
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

_PHONE = {"width": 390, "height": 844}
_DESK = {"width": 1280, "height": 900}
_SHOWN = ("index", "cookbook", "performance", "api/d2_structures")


class _Page(HTMLParser):
    """Collects what a page links to, and the names that it can be linked at."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note ids, targets of links and files."""
        values = dict(attrs)
        self.anchors.update(value for key in ("id", "name") if (value := values.get(key)))
        wanted = {"a": "href", "link": "href", "img": "src", "script": "src"}.get(tag)
        if wanted and (target := values.get(wanted)):
            self.links.append(target)


def dead_links(site: Path) -> list[str]:
    """Links between pages, to files and to anchors, that lead nowhere."""
    pages = {path: _Page(path.read_text()) for path in site.rglob("*.html")}
    dead = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.is_file():
                dead.append(f"{path.relative_to(site)}: {link}: there is no such file")
            elif parts.fragment and target.suffix == ".html":
                anchors = pages[target].anchors
                if unquote(parts.fragment) not in anchors:
                    dead.append(f"{path.relative_to(site)}: {link}: there is no such place")
    return dead


@contextlib.contextmanager
def _served(site: Path) -> Iterator[str]:
    handler = functools.partial(_Quiet, directory=str(site))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def browser_findings(site: Path, screenshots: Path | None) -> list[str]:
    """What a browser without network complains about; pages wider than a phone; a failed search."""
    from playwright.sync_api import sync_playwright

    findings: list[str] = []
    with _served(site) as address, sync_playwright() as tools:
        executable = shutil.which("chromium") or shutil.which("chromium-browser")
        browser = tools.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        for scheme, size in (("light", _DESK), ("dark", _DESK), ("light", _PHONE)):
            context = browser.new_context(color_scheme=scheme, viewport=size)
            page = context.new_page()
            page.on("console", lambda m: findings.append(m.text) if m.type == "error" else None)
            page.on("pageerror", lambda error: findings.append(str(error)))
            page.on("requestfailed", lambda r: None if _is_left(r) else findings.append(r.url))
            device = "phone" if size is _PHONE else "desk"
            names = sorted(p.relative_to(site).with_suffix("").as_posix() for p in _pages(site))
            for name in names if device == "phone" else _SHOWN:
                page.goto(f"{address}/{name}.html")
                wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
                if wide > 1:
                    findings.append(f"{name}: {wide} pixels wider than a {device}")
                if screenshots and name in _SHOWN:
                    file = f"{name.replace('/', '-')}-{device}-{scheme}.png"
                    page.screenshot(path=str(screenshots / file))
            context.close()
        findings += _search(browser, address)
        browser.close()
    return findings


def _is_left(request: Any) -> bool:
    """Whether a request was ended by going to the next page."""
    return "ERR_ABORTED" in (request.failure or "")


def _search(browser: Any, address: str) -> list[str]:
    page = browser.new_page()
    page.goto(f"{address}/search.html?q=DatasetMapper")
    page.wait_for_selector("ul.search li", timeout=20_000)
    text = page.inner_text("ul.search")
    return [] if "DatasetMapper" in text else ["the search does not find DatasetMapper"]


def _pages(site: Path) -> list[Path]:
    return [p for p in site.rglob("*.html") if p.name not in ("search.html", "genindex.html")]


def main() -> int:
    """Print what is wrong; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("site", type=Path)
    parser.add_argument("--screenshots", type=Path)
    args = parser.parse_args()
    site = args.site.resolve()
    findings = dead_links(site)
    if args.screenshots:
        args.screenshots.mkdir(parents=True, exist_ok=True)
    looked = importlib.util.find_spec("playwright") is not None
    if looked:
        findings += browser_findings(site, args.screenshots)
    print("\n".join(findings))
    how = "" if looked else "; Playwright is not installed, so no browser looked"
    print(f"{len(_pages(site))} pages, {len(findings)} things wrong{how}")
    return int(bool(findings))


if __name__ == "__main__":
    raise SystemExit(main())
