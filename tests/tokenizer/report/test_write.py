"""The report of a tokenizer run: whole, alone, true to the run, and clear about what it lacks."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import torch
from click.testing import CliRunner
from report_page import HOSTILE, MARKUP

from tokenizer.commands.cli import main
from tokenizer.evaluation.reconstruction import evaluate_tokenizer
from tokenizer.frozen import load_tokenizer
from tokenizer.mocap.store import PoseStoreWriter, open_store


class Page(HTMLParser):
    """Sections by title, pictures in each, text of all; every tag must close in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.pictures: dict[str, int] = {}
        self.title = ""
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "img", "circle", "line", "polyline", "polygon", "br"):
            self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "data", "action"):
                assert value.startswith("data:image/png;base64,")
                self.pictures[self.title] = self.pictures.get(self.title, 0) + 1

    def handle_startendtag(self, tag, attrs):
        assert not {"src", "href"} & {name for name, _ in attrs}

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "h2":
            self.title = data
        assert not MARKUP.search(data), f"markup shown as text: {data[:200]}"
        self.text.append(data)


def test_the_page_is_whole_and_stands_alone(html):
    page = Page(html)
    assert not re.search(r"url\(|@import|<script", html)
    assert page.pictures == {
        "Poses before and after tokens": 12,
        "The worst poses": 40,
        "What single tokens mean": 2 * 6,
    }
    assert html.count('class="missing"') == 1, "nothing but the benchmark is lacking"
    assert html.count("<polyline") == 4 + 4 + 3, "figures; loss terms and gradient; codes of all and of each layer"
    assert HOSTILE in " ".join(page.text), "names are shown as they are, as text"


def test_its_figures_are_those_of_the_run(html, folder, open_body):
    frozen = load_tokenizer(folder / "run" / "tokenizer.h5")
    figures = evaluate_tokenizer(frozen, torch.from_numpy(open_store(folder / "poses.h5").poses("val")), open_body)
    assert f"<b>{figures['mpjpe_mm']:.1f} mm</b>" in html and f"p95 {figures['mpjpe_p95_mm']:.1f} mm" in html
    assert f"{figures['codes_used']:.0f} of 16 codes used, perplexity {figures['perplexity']:.0f}" in html
    assert "<b>24 bits</b>" in html and frozen.digest in html
    assert "6 tokens in 2 layers, each one of 16 codes" in html


def test_an_unfinished_run_is_shown_from_its_checkpoint(folder, tmp_path):
    shutil.copytree(folder / "run", tmp_path / "run")
    (tmp_path / "run" / "tokenizer.h5").unlink()
    done = CliRunner().invoke(main, ["report", str(tmp_path / "run"), "--out", str(tmp_path / "page.html")])
    assert done.exit_code == 0, done.output
    html = (tmp_path / "page.html").read_text()
    assert "not finished: weights of step 60" in html and html.count('class="missing"') == 1
    assert not (tmp_path / "run" / "tokenizer.h5").exists(), "looking changes nothing"


def test_poses_that_are_gone_or_others_are_told(folder, tmp_path):
    shutil.copytree(folder / "run", tmp_path / "run")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    (tmp_path / "run" / "config.json").write_text(json.dumps(config | {"store": str(tmp_path / "gone.h5")}))
    done = CliRunner().invoke(main, ["report", str(tmp_path / "run")])
    assert done.exit_code == 0, done.output
    html = (tmp_path / "run" / "report.html").read_text()
    Page(html)
    assert f"nothing at {tmp_path / 'gone.h5'}. Give their file with --poses FILE." in html
    assert "validation MPJPE" in html, "the curves need no poses"
    with PoseStoreWriter(tmp_path / "other.h5", "test") as writer:
        writer.add("c", "val", 0.1 * np.ones((3, 21, 3)), np.zeros(10), fps=30, licence="none")
    done = CliRunner().invoke(main, ["report", str(tmp_path / "run"), "--poses", str(tmp_path / "other.h5")])
    assert done.exit_code == 0, done.output
    html = (tmp_path / "run" / "report.html").read_text()
    assert "not on the poses it was trained on" in " ".join(Page(html).text)


def test_no_run_is_one_clear_message(tmp_path):
    done = CliRunner().invoke(main, ["report", str(tmp_path / "nowhere")])
    assert done.exit_code == 2 and "No run at" in done.output
    assert not (tmp_path / "nowhere").exists()
