"""The drift experiment's command: one table, one picture, figures that say what they are."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest
import torch
from click.testing import CliRunner

from pipelines.cli import main
from pipelines.drift_chart import drift_chart
from pipelines.report import write_report
from regressor.drift import Curve
from tokenizer.artifact import export_tokenizer
from tokenizer.body.rotations import axis_angle_to_matrix
from tokenizer.config import NetworkConfig, QuantizerConfig, TokenizerConfig
from tokenizer.model import build_tokenizer

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


def test_table_picture_and_figures(runs):
    done = run(runs, "--samples", "5", "--steps", "4")
    assert done.exit_code == 0, done.output
    table = (runs / "drift.md").read_text()
    assert table.strip() in done.output and table.count("\n| ") == 6
    assert "| free 6D | plain |" in table and "| tokens | TALS, weight 0 |" in table and "0.0 → " in table
    figures = json.loads((runs / "drift.json").read_text())
    assert len(figures["curves"]) == 6 and len(figures["curves"][0]["mpjpe_mm"]) == 5 and figures["samples"] == 5
    picture = ElementTree.parse(runs / "drift.svg").getroot()
    assert len(picture.findall(f"{SVG}polyline")) == 12, "six curves and their key"

    write_report(runs, runs / "report.html")
    page = (runs / "report.html").read_text()
    assert "data:image/svg+xml;base64," in page and "tokens, TALS, weight 0.05" in page
    (runs / "drift.svg").rename(runs / "kept.svg")
    write_report(runs, runs / "report.html")
    assert "<code>make drift</code>" in (runs / "report.html").read_text()

    again = run(runs, "--samples", "5", "--steps", "4")
    assert again.exit_code == 0 and (runs / "drift.md").read_text() == table, "the same seed, the same figures"
    other = run(runs, "--samples", "5", "--steps", "4", "--tals", "published", "--camera", "fov=60")
    assert other.exit_code == 0 and "thresholds: published" in other.output and "`fov=60`" in other.output


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--tals", "mine"], "derived or published"),
        (["--camera", "lens"], "Unknown camera"),
        (["--samples", "0"], "needs samples"),
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
