"""The report: missing parts are named in their place."""

from __future__ import annotations

import json

from click.testing import CliRunner
from report_page import HOSTILE, Page

from pipelines.cli import main
from pipelines.report import write_report


def test_missing_parts_are_told_in_their_place(tmp_path):
    out = write_report(tmp_path, tmp_path / "report.html")
    page = Page(out.read_text())
    assert page.open == []
    text = " ".join(page.text)
    for words in ("No tokenizer at", "No crop store", "make evaluate", "No prediction was given"):
        assert words in text


def test_errors_and_their_note_are_shown_and_names_are_escaped(tmp_path):
    errors = {HOSTILE: {"mpjpe_mm": 81.26}}
    figures = {"errors_mm": errors, "ratios": {HOSTILE: {"mpjpe_mm": 0.5}}, "ratio_to": HOSTILE, "protocol": "All."}
    (tmp_path / "evaluation.json").write_text(json.dumps(figures))
    html = write_report(tmp_path, tmp_path / "report.html").read_text()
    page = Page(html)
    assert page.open == [] and "<script" not in html and page.addresses == []
    text = " ".join(page.text)
    assert f"Small figures: ratio to “{HOSTILE}”. All." in text
    assert "81.3" in text and "0.50 ×" in text and "–" in text


def test_no_folder_is_one_clear_message(tmp_path):
    done = CliRunner().invoke(main, ["report", str(tmp_path / "nowhere")])
    assert done.exit_code == 2
    assert "No folder at" in done.output and "make demo" in done.output


def test_commands_are_shown_as_they_were_and_wrap_between_words(tmp_path):
    line = "pose-tokenizer train 'my poses.h5' --minutes 2.4 --set a=<v>"
    record = {"stage": "tokenizer", "commands": [line, line], "seconds": 30.7}
    (tmp_path / "history.jsonl").write_text(2 * (json.dumps(record) + "\n"))
    html = write_report(tmp_path, tmp_path / "report.html").read_text()
    text = "".join(Page(html).text)
    assert f"61 s, 2 attemptstokenizer$ {line}\n$ {line}" in text
    assert "<code>--minutes</code> <code>2.4</code>" in html and "<code>a=&lt;v&gt;</code>" in html
