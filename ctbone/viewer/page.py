"""The viewer's files, and one HTML page that holds the viewer and an image."""

from __future__ import annotations

import base64
import json
import re
from html import escape
from pathlib import Path
from typing import Any

from ctbone.viewer.image import ViewerImage

STATIC = Path(__file__).parent / "static"
"""The folder of the viewer's scripts and styles."""
_SCRIPTS = ("geometry.js", "volume.js", "measures.js", "input.js", "viewer.js")
"""In the order of their imports."""


def static_files() -> dict[str, bytes]:
    """Return the viewer's files by name."""
    return {path.name: path.read_bytes() for path in sorted(STATIC.glob("*.*"))}


def viewer_page(image: ViewerImage, title: str) -> str:
    """Return an HTML page that shows one image without a server.

    Scripts, styles and the gzip chunks are inside the page, so it opens from a folder. It is meant
    for crops: a whole CT makes a page of 100 MB.

    Parameters
    ----------
    image
        The image.
    title
        Heading of the page.
    """
    chunks: dict[str, list[str]] = {}
    for layer, count in image.chunk_slices.items():
        numbers = range(-(-image.grid.shape[2] // count))
        chunks[layer] = [_base64(image.chunk(layer, number)) for number in numbers]
    style = (STATIC / "viewer.css").read_text(encoding="utf-8")
    script = "\n".join(_plain((STATIC / name).read_text(encoding="utf-8")) for name in _SCRIPTS)
    content = _json({"image": image.description(), "chunks": chunks})
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>{style}
html, body {{ margin: 0; height: 100%; background: #0b0d10; }}
main {{ height: 100vh; }}</style></head>
<body><main id="viewer" class="viewer"></main>
<script type="application/json" id="content">{content}</script>
<script type="module">{script}
const content = JSON.parse(document.getElementById("content").textContent);
const viewer = new Viewer(document.getElementById("viewer"));
globalThis.viewer = viewer;
viewer.show(new Volume(content.image, inPage(content.chunks)));
</script></body></html>
"""


def _plain(module: str) -> str:
    """Drop the imports and exports of a module, so that several stand in one script."""
    without = re.sub(r"^import [^;]*;\n", "", module, flags=re.MULTILINE)
    return re.sub(r"^export ", "", without, flags=re.MULTILINE)


def _json(content: dict[str, Any]) -> str:
    """JSON that cannot end a script element."""
    return json.dumps(content, separators=(",", ":")).replace("<", "\\u003c")


def _base64(chunk: bytes | None) -> str:
    return base64.b64encode(chunk or b"").decode()
