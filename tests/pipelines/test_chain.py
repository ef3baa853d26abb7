"""The whole chain, tiny, with the real programs; then its report and the README's Python on what it made."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from report_page import Page

import regressor
from pipelines import demo
from pipelines.cli import main
from pipelines.stages import PRESETS, Preset, Settings, stages
from regressor.people.detection.detected_person import DetectedPerson

ROOT = Path(__file__).resolve().parents[2]
TINY = Preset(400, "compact", 0.005, "suit", (32, 16, 16), "small", 0.005)


@pytest.fixture(scope="module", autouse=True)
def _tiny_preset():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "tiny", TINY)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with runs/demo in it, made by the chain."""
    folder = tmp_path_factory.mktemp("chain")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        done = CliRunner().invoke(main, ["demo", "--preset", "tiny"], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        assert done.stdout.splitlines()[-1] == "runs/demo/report.html"
        again = CliRunner().invoke(main, ["demo", "--preset", "tiny"], catch_exceptions=False)
        assert again.output.count("is up to date") == len(stages(Settings(Path("runs/demo"), "tiny")))
    return folder


def test_the_report_is_whole_and_stands_alone(folder):
    html = (folder / "runs/demo/report.html").read_text()
    page = Page(html)
    text = " ".join(page.text)
    assert page.open == []
    assert page.addresses and all(address.startswith("data:image/") for address in page.addresses)
    assert not re.search(r"url\(|@import|<script", html)
    assert 'class="missing"' not in html
    for words in ("mm", "perplexity", "mean pose, true orientation", "synthetic people only", "EIA-0196217", "sha256"):
        assert words in text
    shown = [line for stage in stages(Settings(Path("runs/demo"), "tiny")) for line in stage.command_lines()]
    places = ["".join(page.text).index(f"$ {line}") for line in shown]
    assert places == sorted(places), "every command, in order"


def test_a_copy_is_not_made_again(folder):
    shutil.copytree(folder / "runs/demo", folder / "elsewhere")
    for path in (folder / "elsewhere").rglob("*"):
        os.utime(path)  # `cp -r` keeps neither times nor their order
    done = CliRunner().invoke(main, ["demo", "--preset", "tiny", "--runs", str(folder / "elsewhere")])
    assert done.exit_code == 0 and done.output.count("is up to date") == 6, done.output


def test_digests_in_the_report_are_those_of_the_files(folder):
    html = (folder / "runs/demo/report.html").read_text()
    for name in ("poses.h5", "tokenizer.h5", "crops.h5"):
        assert demo.content_digest(folder / "runs/demo" / name) in html


def test_a_test_image_that_is_not_there(folder, tmp_path):
    crops = str(folder / "runs/demo/crops.h5")
    done = CliRunner().invoke(main, ["picture", crops, "--number", "99", "--out", str(tmp_path / "x.png")])
    assert done.exit_code == 2 and "0 to 15" in done.output


def test_the_benchmark_prints_figures_of_what_is_there(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setattr("pipelines.benchmarks.bench._IMAGES", 16)
    done = CliRunner().invoke(main, ["bench"], catch_exceptions=False)
    assert done.exit_code == 1, "what was learned in a second is not what is asked"
    assert re.search(r"MPJPE \(.* mm\) +at most 0\.820 +\d\.\d+ +NOT MET", done.stdout), done.stdout
    for words in ("pose-tokenizer --help", "domain varied", "need MOCAP=DIR", "not met: "):
        assert words in done.stdout
    written = json.loads((folder / "runs/demo/bench.json").read_text())
    evaluation = json.loads((folder / "runs/demo/evaluation.json").read_text())
    ratio = next(iter(evaluation["ratios"].values()))["mpjpe_mm"]
    assert f"{ratio:.3f}" in [figure["value"] for figure in written["figures"]]


def test_python_of_the_readme_runs(folder, monkeypatch):
    monkeypatch.chdir(folder)
    names_found = ("left_shoulder", "right_shoulder", "left_hip", "right_hip", "left_ankle", "right_ankle")
    places = np.array([[280.0, 150], [200, 150], [265, 270], [215, 270], [270, 440], [210, 440]], np.float32)
    person = DetectedPerson(names_found, places, np.ones(6, np.float32), (180.0, 60, 300, 470), 1.0, "made up")
    monkeypatch.setattr(regressor, "detect_people", lambda image: [person], raising=False)  # models are not everywhere
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    assert len(blocks) == 2
    assert names["joints"].shape == (24, 3)
    vertices = names["people"].vertices
    assert vertices.shape[0] == 1 and np.isfinite(vertices.numpy()).all()
