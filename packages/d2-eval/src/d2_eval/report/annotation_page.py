"""Pictures of a dataset with what is annotated in them, on one page to scroll."""

from __future__ import annotations

import base64
import io
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from d2_config.files import write_atomically
from d2_eval.report.annotated_pictures import (
    AnnotatedPicture,
    PictureDrawer,
    annotated_pictures,
)
from d2_eval.report.class_colors import Rgb

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2330; --faint: #68707d; --line: #dde1e7;
  --plate: #f6f7f9; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --faint: #9aa3b0; --line: #343b47;
  --plate: #1d222b; } }
body { font: 15px/1.45 system-ui, sans-serif; color: var(--ink); margin: 1.5rem; }
h1 { font-size: 1.3rem; margin: 0 0 .2rem; overflow-wrap: anywhere; }
p { color: var(--faint); margin: 0 0 .8rem; }
nav { display: flex; flex-wrap: wrap; gap: .35rem; padding: .5rem 0; position: sticky; top: 0;
  background: Canvas; z-index: 1; }
.chip { font: inherit; font-size: .85rem; color: inherit; border: 1px solid var(--line);
  border-radius: 1rem; background: var(--plate); padding: .1rem .6rem; white-space: nowrap; }
nav .chip { cursor: pointer; } nav .chip[aria-pressed=true] { outline: 2px solid currentColor; }
.chip i { display: inline-block; width: .7rem; height: .7rem; border-radius: .2rem;
  margin-right: .35rem; vertical-align: -.05rem; }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(19rem, 1fr)); gap: 1rem;
  align-items: start; }
figure { margin: 0; border: 1px solid var(--line); border-radius: .5rem; overflow: hidden;
  background: var(--plate); }
figure.wide { grid-column: 1 / -1; } figure[hidden] { display: none; }
img { width: 100%; display: block; cursor: zoom-in; } .wide img { cursor: zoom-out; }
figcaption { padding: .4rem .6rem .6rem; overflow-wrap: anywhere; font-size: .85rem; }
figcaption .chip { display: inline-block; margin: .2rem .2rem 0 0; }
"""

_SCRIPT = """
const chips = document.querySelectorAll('nav .chip');
for (const chip of chips) chip.onclick = () => {
  const chosen = chip.getAttribute('aria-pressed') !== 'true';
  for (const other of chips) other.setAttribute('aria-pressed', 'false');
  chip.setAttribute('aria-pressed', String(chosen));
  for (const figure of document.querySelectorAll('figure'))
    figure.hidden = chosen && !figure.dataset.classes.split(' ').includes(chip.dataset.label);
};
for (const image of document.querySelectorAll('img'))
  image.onclick = () => image.closest('figure').classList.toggle('wide');
"""


def annotation_page(
    path: str | os.PathLike[str],
    records: Sequence[Mapping[str, Any]],
    metadata: Any = None,
    *,
    title: str = "dataset",
    tile_size: int = 480,
) -> Path:
    """Write an HTML page to scroll through images of a dataset, which needs nothing else.

    A click on a class shows only the images that have it; a click on an image enlarges it.

    Args:
        path: the file to write; folders are made.
        records: dataset dicts.
        metadata: the dataset's metadata: names of the classes and of keypoints.
        title: of the page.
        tile_size: the longer side of a picture, in pixels.

    Returns:
        The path.

    Raises:
        ValueError: if there is nothing to draw.
    """
    pictures = annotated_pictures(records)
    drawer = PictureDrawer(pictures, metadata, tile_size)
    write_atomically(path, "\n".join(_page(pictures, drawer, title)))
    return Path(path)


def _page(pictures: Sequence[AnnotatedPicture], drawer: PictureDrawer, title: str) -> Iterator[str]:
    totals: Counter[int] = Counter()
    for one in pictures:
        totals.update(one.objects.classes)
    yield '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>"
    yield f"<h1>{escape(title)}</h1>"
    yield f"<p>{len(pictures)} images, {totals.total()} objects</p><nav>"
    for label, count in totals.most_common():
        yield (
            f'<button class="chip" aria-pressed="false" data-label="{label}">'
            f"{_swatch(drawer.colors[label])}{escape(drawer.name(label))} {count}</button>"
        )
    yield "</nav><main>"
    for one in pictures:
        yield _figure(one, drawer)
    yield f"</main><script>{_SCRIPT}</script></body></html>"


def _figure(one: AnnotatedPicture, drawer: PictureDrawer) -> str:
    buffer = io.BytesIO()
    drawer.draw(one).save(buffer, format="JPEG", quality=85)
    source = base64.b64encode(buffer.getvalue()).decode("ascii")
    labels = " ".join(str(label) for label, _ in one.counts)
    chips = "".join(
        f'<span class="chip">{_swatch(entry.color)}{escape(entry.text)}</span>'
        for entry in drawer.entries(one)
        if entry.color is not None
    )
    return (
        f'<figure data-classes="{labels}"><img loading="lazy" alt="" '
        f'src="data:image/jpeg;base64,{source}"><figcaption>{escape(one.name)}<br>{chips}'
        "</figcaption></figure>"
    )


def _swatch(color: Rgb) -> str:
    return f'<i style="background:rgb{color}"></i>'
