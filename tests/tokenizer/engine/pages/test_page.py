"""Charts and pieces of a page: what they draw, what they leave out, what they escape."""

from __future__ import annotations

import re

import numpy as np
import pytest

from tokenizer.engine.errors import UserError, fail
from tokenizer.engine.pages.page import (
    card,
    cards,
    facts,
    listing,
    missing,
    note,
    page,
    paragraph,
    part,
    section,
    strip,
    strips,
    table,
    tiles,
)
from tokenizer.engine.pages.pictures import data_uri


def test_a_part_that_fails_says_why_in_its_place():
    def broken():
        raise fail("No <poses>", next_step="Make some")

    assert part(lambda: "fine") == "fine"
    assert part(broken) == '<div class="missing">No &lt;poses&gt;. Make some.</div>'
    with pytest.raises(ZeroDivisionError):
        part(lambda: str(1 / 0))


def test_strips_label_what_has_a_label():
    html = strips([("<i></i>", "one & two"), ("<b></b>", "")])
    assert html.count("<small>") == 1 and "one &amp; two" in html


def test_pictures_without_opencv_say_what_to_install(monkeypatch):
    assert data_uri(np.zeros((2, 2, 4), np.uint8)).startswith("data:image/png;base64,")
    assert data_uri(np.zeros((2, 2, 3), np.uint8)).startswith("data:image/jpeg;base64,")
    monkeypatch.setitem(__import__("sys").modules, "cv2", None)
    with pytest.raises(UserError, match="pip install opencv-python-headless"):
        data_uri(np.zeros((2, 2, 4), np.uint8))


def test_every_plain_value_is_escaped_and_the_page_needs_nothing_else():
    bad, good = "<script>alert(1)</script> & co", "&lt;script&gt;alert(1)&lt;/script&gt; &amp; co"
    parts = [
        section(bad, "<b>lead</b>", "<i>inside</i>"),
        tiles([(bad, bad)]),
        strip([("data:image/png;base64,AAAA", bad)]),
        table([bad], [["<b>cell</b>"]], strong=[0]),
        facts([(bad, bad)]),
        card("<svg></svg>", "<b>caption</b>"),
        part(lambda: fail_with(bad)),
    ]
    text = page(bad, parts)
    assert "<script" not in text and text.count(good) == 10
    for markup in ("<b>lead</b>", "<i>inside</i>", "<b>cell</b>", "<b>caption</b>", "<svg></svg>"):
        assert markup in text
    assert not re.search(r'(?:src|href)="(?!data:)|@import|url\(', text), "no network, no other file"


def test_blocks_may_be_added_to_each_other():
    assert note("a < b") + cards([card("<svg></svg>")]) + paragraph("it's") == (
        '<p class="note">a &lt; b</p><div class="cards three"><figure class="card"><svg></svg></figure></div>'
        "<p>it&#39;s</p>"
    )
    assert missing("gone") + listing("a <b>\n c") == (
        '<div class="missing">gone</div><figure class="card"><pre>a &lt;b&gt;\n c</pre></figure>'
    )


def fail_with(text):
    raise UserError(text)
