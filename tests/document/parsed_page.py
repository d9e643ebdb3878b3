"""Parse a page as a browser would, with nothing but the standard library."""

from html.parser import HTMLParser
from importlib.resources import files

VOID = {"meta", "img", "br", "link", "hr", "input"}


class ParsedPage(HTMLParser):
    """Check that every tag is closed, and collect everything that a browser would load."""

    def __init__(self):
        super().__init__()
        self.open, self.references, self.ids, self.text, self.anchors = [], [], [], [], []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "action", "data", "poster", "srcset"):
                (self.anchors if value.startswith("#") else self.references).append(value)
            if name == "id":
                self.ids.append(value)
            assert not name.startswith("on"), name

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def parse(path) -> ParsedPage:
    page = ParsedPage()
    page.feed(path.read_text(encoding="utf-8"))
    page.close()
    assert page.open == []
    return page


def without_own_script(html: str) -> str:
    """The page without the one script that it may have, which names the points of figures."""
    own = (files("ctbone.document") / "templates" / "hover.js").read_text(encoding="utf-8")
    assert html.count(own) <= 1
    return html.replace(f"<script>{own}</script>", "")
