"""What a page of ours holds, as a browser would see it."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from tokenizer.config import NetworkConfig, OptimConfig, QuantizerConfig, TokenizerConfig

MARKUP = re.compile(r"</?(p|b|div|figure|table|small|pre|ul|code|img|svg)[ >]")


class Page(HTMLParser):
    """Open tags, whether they close in order, text, and every address the page asks a browser to load.

    Markup that a reader would see as text, as it was escaped twice, fails."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.addresses: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.addresses += [value for name, value in attrs if name in ("src", "href", "data", "action")]
        if tag not in ("meta", "img", "circle", "line", "polyline", "polygon", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.addresses += [value for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        assert not MARKUP.search(data), f"markup shown as text: {data[:200]}"
        self.text.append(data)


CONFIG = TokenizerConfig(
    network=NetworkConfig(width=32, blocks=1),
    quantizer=QuantizerConfig(levels=(4, 4), groups=3, layers=2),
    optim=OptimConfig(steps=60, batch=64, lr=3e-3, warmup=10),
    precision="fp32",
    device="cpu",
    validate_every=30,
    checkpoint_every=30,
)


HOSTILE = "<script>alert(1)</script>"
