"""The drift experiment's command: one table, one picture, figures that say what they are."""

from __future__ import annotations

import json
from html import unescape
from xml.etree import ElementTree

import pytest
import torch
from click.testing import CliRunner
from report_page import Page

from pipelines import drift as experiment
from pipelines.cli import main
from pipelines.descent import RATES, Curve
from pipelines.drift import Drift, drift_chart
from pipelines.report import write_report
from tokenizer.artifact import export_tokenizer
from tokenizer.body.rotations import axis_angle_to_matrix
from tokenizer.config import NetworkConfig, QuantizerConfig, TokenizerConfig
from tokenizer.network.model import build_tokenizer

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    torch.manual_seed(0)
    quantizer = QuantizerConfig(levels=(4, 4, 2), groups=3, layers=2)
    config = TokenizerConfig(network=NetworkConfig(width=16, blocks=1), quantizer=quantizer)
    model = build_tokenizer(config.network, config.quantizer)
    model.fit_scale(axis_angle_to_matrix(0.3 * torch.randn(64, 21, 3)))
    export_tokenizer(model.eval(), config, folder / "tokenizer.h5")
    return folder


def run(runs, *words):
    return CliRunner().invoke(main, ["drift", "--runs", str(runs), *words])


SMALL = ("--samples", "5", "--steps", "4", "--seeds", "2")


@pytest.fixture(autouse=True)
def few_trials(monkeypatch):
    monkeypatch.setattr(experiment, "_TRIED", 3)


def test_table_picture_and_figures(runs):
    done = run(runs, *SMALL)
    assert done.exit_code == 0, done.output
    table = (runs / "drift.md").read_text()
    assert table.strip() in done.output and table.count("\n| ") == 7
    assert "| free 6D | plain |" in table and "| tokens | TALS, weight 0 |" in table and "0.0 → " in table
    assert "seeds 0 to 1" in table and "±" in table
    figures = json.loads((runs / "drift.json").read_text())
    assert len(figures["curves"]) == 12 and len(figures["curves"][0]["mpjpe_mm"]) == 5 and figures["samples"] == 5
    assert figures["rates"]["free 6D"] in RATES["free 6D"] and figures["rates"]["tokens"] in RATES["tokens"]
    picture = ElementTree.parse(runs / "drift.svg").getroot()
    assert len(picture.findall(f"{SVG}polyline")) == 12, "six curves and their key"

    write_report(runs, runs / "report.html")
    page = (runs / "report.html").read_text()
    assert "data:image/svg+xml;base64," in page and "<td>TALS, weight 0.05</td>" in page
    assert figures["findings"][0] in " ".join(Page(page).text)
    (runs / "drift.svg").rename(runs / "kept.svg")
    write_report(runs, runs / "report.html")
    assert "<code>make drift</code>" in (runs / "report.html").read_text()

    again = run(runs, *SMALL)
    assert again.exit_code == 0 and (runs / "drift.md").read_text() == table, "the same seed, the same figures"
    assert "report.html anew" in again.output and figures["findings"][0] in unescape((runs / "report.html").read_text())
    other = run(runs, *SMALL, "--tals", "published", "--camera", "fov=60")
    assert other.exit_code == 0 and "thresholds: published" in other.output and "`fov=60`" in other.output


def test_an_older_drift_is_told(tmp_path):
    (tmp_path / "drift.svg").write_text("<svg/>")
    (tmp_path / "drift.json").write_text('{"curves": []}')
    write_report(tmp_path, tmp_path / "report.html")
    assert "older version" in (tmp_path / "report.html").read_text()


def falling(pose, loss, *, end, mm):
    return Curve(pose, loss, [2.0, end], [0.0, mm], [0.0, mm / 2])


def test_the_finding_says_what_was_measured():
    """Two seeds, all falling in a straight line: at 1 px each is where it is by arithmetic."""
    seeds = []
    for more in (0.0, 2.0):
        seeds += [
            falling("free 6D", "plain", end=0.5, mm=30 + more),
            falling("free 6D", "TALS, weight 0.05", end=1.0, mm=15),
            falling("free 6D", "TALS, weight 0", end=1.5, mm=3),
            falling("tokens", "plain", end=0.0, mm=42 - more),
            falling("tokens", "TALS, weight 0.05", end=0.5, mm=36),
            falling("tokens", "TALS, weight 0", end=1.8, mm=2),
        ]
    drift = Drift(seeds, [0, 1], 5, 1, "reference", "derived", {"free 6D": 0.2, "tokens": 80.0})
    assert drift.level_px == 1.0, "the lowest that all but weight 0 reach"
    far, tokens, thresholds = drift.findings()
    assert "31 mm (16 mm aligned) from the truth with free rotations, 41 mm (20 mm aligned) with tokens" in far
    assert "at 1.00 px MPJPE −0.2 mm and PA-MPJPE −0.1 mm (falls in 1 and 1 of 2 seeds)" in tokens
    assert "at 0.50 px MPJPE −0.2 mm" in tokens
    assert "with free rotations at 1.00 px MPJPE −5.7 mm and PA-MPJPE −2.8 mm (falls in 2 and 2 of 2" in thresholds
    assert "with tokens at 1.00 px MPJPE +3.5 mm and PA-MPJPE +1.8 mm (falls in 0 and 0 of 2" in thresholds
    rows = drift.rows()
    assert rows[0][2:] == ["2.00 → 0.50 ± 0.00", "0.0 → 31.0 ± 1.4", "0.0 → 15.5 ± 0.7", "20.7 ± 0.9 / 10.3 ± 0.5"]
    assert rows[2][-1] == "not reached"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--tals", "mine"], "derived or published"),
        (["--camera", "lens"], "Unknown camera"),
        (["--samples", "0"], "needs samples"),
        (["--seeds", "0"], "needs samples"),
        (["--tokenizer", "gone.h5"], "gone.h5"),
    ],
)
def test_nonsense_is_told(runs, words, says):
    done = run(runs, *words)
    last = done.stderr.splitlines()[-1]
    assert done.exit_code == 2 and last.startswith("error: ") and says in last


def test_the_picture_keeps_points_inside():
    curves = [
        Curve("free 6D", "plain", [3.0, 0.3], [0.0, 50.0], [0.0, 30.0]),
        Curve("tokens", "TALS, weight 0", [4.0, 4.0], [15.0, 15.0], [14.0, 14.0]),
    ]
    picture = ElementTree.fromstring(drift_chart(curves))
    width, height = (float(picture.get(name)) for name in ("width", "height"))
    for circle in picture.findall(f"{SVG}circle"):
        assert 0 < float(circle.get("cx")) < width and 0 < float(circle.get("cy")) < height
    still = Curve("free 6D", "plain", [1.0, 1.0], [0.0, 0.0], [0.0, 0.0])
    ElementTree.fromstring(drift_chart([still]))
