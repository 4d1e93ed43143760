"""Notices become HTML that cannot harm the page that shows it: portal.markdown."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.markdown import to_html

ALLOWED = {
    *("p", "br", "hr", "em", "strong", "code", "pre", "blockquote", "ul", "ol", "li", "a"),
    *("h3", "h4", "h5", "h6"),
}
ATTRIBUTES = {"a": {"href", "title", "rel"}, "ol": {"start"}, "code": {"class"}}


class Reader(HTMLParser):
    """Collects elements with their attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_what_an_operator_writes() -> None:
    html = to_html("# Posyandu\n\nSabtu **8 Agustus**, bawa:\n\n- KMS\n- [peta](https://desa.example/peta)\n")
    assert "<h3>Posyandu</h3>" in html
    assert "<strong>8 Agustus</strong>" in html
    assert "<li>KMS</li>" in html
    assert '<a href="https://desa.example/peta" rel="noopener noreferrer nofollow">peta</a>' in html


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "![gambar](https://tracker.example/x.png)",
        "[x](javascript:alert(1))",
        "[x](JaVaScRiPt:alert(1))",
        "[x](data:text/html,<script>alert(1)</script>)",
        "[x](//elsewhere.example/)",
        "<https://a.example/><svg onload=alert(1)>",
        '[x](https://a.example/ "a\\" onclick=\\"alert(1)")',
    ],
)
def test_nothing_that_runs_or_loads(text: str) -> None:
    assert_harmless(to_html(text))


@given(st.text(max_size=300) | st.lists(st.sampled_from(list("<>[]()!\"'`*_#&=:/ \nja")), max_size=80).map("".join))
def test_any_text_is_harmless(text: str) -> None:
    assert_harmless(to_html(text))


def assert_harmless(html: str) -> None:
    for tag, attributes in Reader(html).found:
        assert tag in ALLOWED
        assert attributes.keys() <= ATTRIBUTES.get(tag, set()), (tag, attributes)
        assert re.match(r"(https?://|tel:|mailto:)", attributes.get("href") or "https://", re.IGNORECASE)
