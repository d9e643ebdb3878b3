"""A headless Chromium for tests of pages; tests skip where there is none."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager

import pytest

OPTIONS = ["--no-sandbox", "--disable-3d-apis", "--disable-background-networking"]
"""Without a sandbox it runs as root; without 3D it draws as on a remote desktop."""


def chromium_path():
    names = ("chromium", "chromium-browser", "google-chrome")
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


needs_chromium = pytest.mark.skipif(
    chromium_path() is None, reason="no chromium on this machine (Debian: apt install chromium)"
)


@contextmanager
def chromium():
    """Start one browser and close it at the end."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=OPTIONS)
        yield browser
        browser.close()


OF_THE_TEST = "willReadFrequently"
"""Chromium's advice to a page whose canvas is read back, as tests do."""


def watched(context):
    """A page that collects what the browser complains of: errors, refused content."""
    page = context.new_page()
    page.complaints = []

    def listen(message):
        if message.type in ("error", "warning") and OF_THE_TEST not in message.text:
            page.complaints.append(message.text)

    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.on("console", listen)
    return page
