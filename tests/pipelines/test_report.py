"""The report: missing parts are named in their place."""

from __future__ import annotations

import pytest
from click.testing import CliRunner
from report_page import Page

from pipelines.cli import main
from pipelines.report import write_report
from pipelines.stages import PRESETS, Preset

TINY = Preset(400, "compact", 0.005, "suit", (32, 16, 16), "small", 0.005)


@pytest.fixture(scope="module", autouse=True)
def _tiny_preset():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "tiny", TINY)
        yield


def test_missing_parts_are_told_in_their_place(tmp_path):
    out = write_report(tmp_path, tmp_path / "report.html")
    page = Page(out.read_text())
    assert page.open == []
    text = " ".join(page.text)
    for words in ("No tokenizer at", "No crop store", "make evaluate", "No prediction was given"):
        assert words in text


def test_no_folder_is_one_clear_message(tmp_path):
    done = CliRunner().invoke(main, ["report", str(tmp_path / "nowhere")])
    assert done.exit_code == 2
    assert "No folder at" in done.output and "make demo" in done.output
