"""The report of a tokenizer run: whole, alone, true to the run, and clear about what it lacks."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from tokenizer.body.rotations import axis_angle_to_matrix
from tokenizer.commands.cli import main
from tokenizer.config import NetworkConfig, OptimConfig, QuantizerConfig, TokenizerConfig
from tokenizer.engine.errors import UserError
from tokenizer.evaluation.reconstruction import evaluate_tokenizer
from tokenizer.frozen import load_tokenizer
from tokenizer.mocap.store import PoseStoreWriter, open_store
from tokenizer.report.comparison import comparison, find_benchmark
from tokenizer.report.meaning import farthest_changes, layer_name, middle_pose, strongest_joints
from tokenizer.report.places import token_map
from tokenizer.report.poses import Reconstruction, frame_names, reconstruct, worst_poses
from tokenizer.training.train import train_tokenizer

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


@pytest.fixture(scope="module", autouse=True)
def _small_pictures():
    with pytest.MonkeyPatch.context() as patch:
        for module in ("poses", "meaning"):
            patch.setattr(f"tokenizer.report.{module}._FIGURE", (30, 26))
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory, open_body):
    """A folder with poses.h5 and a finished run."""
    folder = tmp_path_factory.mktemp("report")
    draw = np.random.default_rng(0)
    directions = draw.normal(size=(6, 63)) * 0.25
    with PoseStoreWriter(folder / "poses.h5", "test") as writer:
        for name, split, count in (("a", "train", 500), ("b", "val", 30), (HOSTILE, "val", 30)):
            poses = np.tanh(draw.normal(size=(count, 6)) @ directions).reshape(-1, 21, 3)
            writer.add(name, split, poses, np.zeros(10), fps=30, licence="none")
    train_tokenizer(open_store(folder / "poses.h5"), folder / "run", CONFIG, open_body)
    return folder


@pytest.fixture(scope="module")
def html(folder):
    done = CliRunner().invoke(main, ["report", str(folder / "run"), "--device", "cpu"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[-1] == f"Wrote {folder / 'run' / 'report.html'}"
    return (folder / "run" / "report.html").read_text()


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


def test_the_worst_come_first_and_neighbours_are_left_out(folder, open_body):
    pose = 0.4 * torch.randn(1, 21, 3, generator=torch.Generator().manual_seed(0))
    poses = torch.cat([pose, pose + 1e-3, -pose, torch.zeros(1, 21, 3)])
    frozen = load_tokenizer(folder / "run" / "tokenizer.h5")
    ids = frozen.encode(axis_angle_to_matrix(poses))
    made = Reconstruction(poses, ids, torch.tensor([50.0, 60.0, 10.0, 70.0]), 16)
    sheet = worst_poses(made, frozen, open_body, ["first", "second", "third", "fourth"])
    shown = re.findall(r"<b>([\d.]+) mm</b>.*?<br>(\w+)<", sheet)
    assert shown == [("70.0", "fourth"), ("60.0", "second"), ("10.0", "third")]
    assert len(re.findall("<figure", worst_poses(made, frozen, open_body, ["x"] * 4, count=2))) == 2


def test_every_pose_and_token_counts(folder, open_body):
    store = open_store(folder / "poses.h5")

    class Constant:
        num_codes = 4

        def encode(self, rotations):
            return rotations.new_zeros(len(rotations), 3).long() + torch.tensor([2, 2, 1])

        def decode(self, ids):
            return torch.eye(3).expand(len(ids), 21, 3, 3)

    made = reconstruct(store, Constant(), open_body, batch=7)
    assert made.code_counts().tolist() == [0, 60, 120, 0]
    assert made.code_counts(slice(2, 3)).tolist() == [0, 60, 0, 0]
    assert torch.equal(made.token_perplexity(), torch.ones(3))
    still = open_body.joints(torch.eye(3).expand(21, 3, 3))
    posed = open_body.joints(axis_angle_to_matrix(made.poses[11]))
    assert float(made.error_mm[11]) == pytest.approx(1000 * float((still - posed)[1:].norm(dim=-1).mean()), rel=1e-4)
    names = frame_names(store)
    assert len(names) == 60 and names[31] == f"{HOSTILE}, frame\u00a01"
    with pytest.raises(UserError, match="no poses in split 'test'"):
        reconstruct(store, Constant(), open_body, split="test")


def test_two_uses_of_a_token_are_those_farthest_apart(open_body):
    class ElbowToken:
        """Token 1 bends the left elbow by its id times 0.5 rad."""

        def decode(self, ids):
            pose = torch.zeros(len(ids), 21, 3)
            pose[:, 17, 1] = 0.5 * ids[:, 1]
            return axis_angle_to_matrix(pose)

    ids = torch.tensor([[0, 1], [0, 3], [0, 2], [0, 1]])
    made = Reconstruction(torch.zeros(4, 21, 3), ids, torch.zeros(4), 9)
    assert farthest_changes(made, 1, ids[0], ElbowToken(), open_body).tolist() == [[0, 1], [0, 3]]
    assert farthest_changes(made, 0, ids[0], ElbowToken(), open_body).tolist() == [[0, 1], [0, 1]]


def test_the_middle_pose_and_names_of_layers_and_joints(open_body):
    poses = torch.stack([torch.full((21, 3), 0.3), torch.zeros(21, 3), torch.full((21, 3), -0.3)])
    made = Reconstruction(poses, torch.zeros(3, 1).long(), torch.zeros(3), 1)
    assert middle_pose(made, open_body) == 1
    assert [layer_name(i, 3) for i in range(3)] == ["coarse", "middle", "fine"]
    assert layer_name(0, 1) == "" and layer_name(3, 5) == "layer 4"
    degrees = torch.zeros(21)
    degrees[17], degrees[3] = 12.4, 30.0
    assert strongest_joints(degrees, 2) == "left knee 30°, left elbow 12°"


def test_tokens_stand_in_rows_of_their_layer():
    layered = token_map(torch.arange(6.0), 2, unit="%")
    assert "coarse (0–2)" in layered and "fine (3–5), 2: 5 %" in layered
    flat = token_map(torch.arange(20.0), 1, unit="%")
    assert flat.count("<rect") == 20 and "from 16, 3: 19 %" in flat


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
    assert f"nothing at {tmp_path / 'gone.h5'}. Say where they are with --poses FILE." in html
    assert "validation MPJPE" in html, "the curves need no poses"
    with PoseStoreWriter(tmp_path / "other.h5", "test") as writer:
        writer.add("c", "val", 0.1 * np.ones((3, 21, 3)), np.zeros(10), fps=30, licence="none")
    done = CliRunner().invoke(main, ["report", str(tmp_path / "run"), "--poses", str(tmp_path / "other.h5")])
    assert done.exit_code == 0, done.output
    assert "not on the poses it was trained on" in (tmp_path / "run" / "report.html").read_text()


def test_no_run_is_one_clear_message(tmp_path):
    done = CliRunner().invoke(main, ["report", str(tmp_path / "nowhere")])
    assert done.exit_code == 2 and "No run at" in done.output
    assert not (tmp_path / "nowhere").exists()


def test_a_benchmark_becomes_a_table_and_a_plot(tmp_path):
    run = tmp_path / "runs" / "mine"
    run.mkdir(parents=True)
    with pytest.raises(UserError, match="make bench-tokenizer"):
        find_benchmark(run)
    rows = [{"name": "ours <1>", "bits": 330, "mpjpe_mm": 7.25}, {"name": "paper", "bits": 1760, "seeds": 3}]
    (run.parent / "bench.json").write_text("another benchmark's")
    (run.parent / "bench-tokenizer.json").write_text(json.dumps({"command": "make it", "rows": rows}))
    assert find_benchmark(run) == run.parent / "bench-tokenizer.json"
    html = comparison(run.parent / "bench-tokenizer.json")
    assert "<td>ours &lt;1&gt;</td><td>330</td><td>7.25</td><td>–</td>" in html
    assert html.count("<circle") == 1 and "command: make it" in html
    own = run / "bench_tokenizer.json"
    own.write_text(json.dumps({"rows": rows[1:]}))
    assert find_benchmark(run) == own and "<svg" not in comparison(own)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"rows": []}', '{"rows": [1]}', '{"rows": [{}]}', "\udcff"])
def test_a_benchmark_that_is_none_is_refused(tmp_path, text):
    (tmp_path / "bench.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match="benchmark"):
        comparison(tmp_path / "bench.json")
