"""Turns the village's notices, written in Markdown, into HTML that is safe in any page. It must not know notices.

CommonMark without raw HTML and without images: a page is one request, and nothing on it comes from elsewhere. Links
lead only where a phone can go by http, https, tel or mailto. Headings start at the third level, below the page's own.
"""

from __future__ import annotations

import functools
import re
from typing import Final

from markdown_it import MarkdownIt
from markupsafe import Markup

_LINK: Final = re.compile(r"(?:https?://|tel:|mailto:)", re.IGNORECASE)
_LOWER_BY: Final = 2


def to_html(text: str) -> Markup:
    """The HTML of a notice's body."""
    tokens = _reader().parse(text)
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, int(token.tag[1:]) + _LOWER_BY)}"
        for child in token.children or ():
            if child.type == "link_open":
                child.attrSet("rel", "noopener noreferrer nofollow")
    return Markup(_reader().renderer.render(tokens, _reader().options, {}))  # noqa: S704 - made here from text


@functools.cache
def _reader() -> MarkdownIt:
    reader = MarkdownIt("commonmark", {"html": False, "linkify": False}).disable(["image", "html_block", "html_inline"])
    reader.validateLink = lambda url: _LINK.match(url) is not None  # type: ignore[method-assign]
    return reader
