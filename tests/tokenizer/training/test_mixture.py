"""Mixtures: each data set gets its share of every batch, whatever its size; what cannot be had is told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from tokenizer.commands.cli import main
from tokenizer.config import NetworkConfig, OptimConfig, QuantizerConfig, TokenizerConfig, preset
from tokenizer.engine.errors import UserError
from tokenizer.engine.training.run import RunOptions
from tokenizer.evaluation.describe import describe
from tokenizer.mocap.store import PoseStoreWriter, open_store
from tokenizer.training.mixture import Mixture
from tokenizer.training.train import train_tokenizer

NAMES = ("amass/CMU/a", "amass/MOYO/a", "amass/CMU/b", "amass/KIT/val", "amass/mine/a", "amass/MOYO/b")
FRAMES = (900, 7, 100, 50, 300, 1)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Poses whose first number says which source they are of."""
    path = tmp_path_factory.mktemp("mixture") / "poses.h5"
    with PoseStoreWriter(path, "test") as writer:
        for number, (name, frames) in enumerate(zip(NAMES, FRAMES, strict=True)):
            poses = np.random.default_rng(number).normal(size=(frames, 21, 3)) * 0.1
            poses[:, 0, 0] = number
            writer.add(f"{name}.npz", "val" if "KIT" in name else "train", poses, np.zeros(10), fps=30, licence="none")
    return open_store(path)


def drawn(mixture: Mixture, store, count: int = 20_000, seed: int = 0) -> np.ndarray:
    """Share of each source in one large batch, (6,)."""
    rows = mixture.draw(count, torch.Generator().manual_seed(seed))
    return np.bincount(store.poses("train")[rows][:, 0, 0].astype(int), minlength=6) / count


def test_every_data_set_gets_its_share_and_every_pose_of_it_the_same(store):
    mixture = Mixture.of(store, " cmu=.12, moyo = .16")
    assert mixture.shares == pytest.approx({"CMU": 3 / 7, "MOYO": 4 / 7})
    expected = [3 / 7 * 0.9, 4 / 7 * 7 / 8, 3 / 7 * 0.1, 0, 0, 4 / 7 / 8]
    np.testing.assert_allclose(drawn(mixture, store), expected, atol=0.012)
    rows = mixture.draw(100_000, torch.Generator().manual_seed(1)).unique()
    assert len(rows) == 1008, "each pose can be drawn, the first and the last, too"
    assert mixture.note == "Of a batch 42.9% CMU, 57.1% MOYO; nothing of amass"


def test_draws_come_from_the_generator_alone(store):
    mixture = Mixture.of(store, "cmu=1,moyo=1")
    first, again, other = (mixture.draw(64, torch.Generator().manual_seed(seed)) for seed in (3, 3, 4))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_without_a_mixture_every_pose_counts_alike(store):
    mixture = Mixture.of(store, "")
    expected = np.array([900, 7, 100, 0, 300, 1]) / 1308
    np.testing.assert_allclose(drawn(mixture, store), expected, atol=0.012)
    rows = mixture.draw(50, torch.Generator().manual_seed(0))
    assert torch.equal(rows, torch.randint(1308, (50,), generator=torch.Generator().manual_seed(0)))
    assert mixture.note == "Every pose counts alike"


def test_the_paper_s_mixture_is_renormalised_and_says_so(store):
    mixture = Mixture.of(store, preset("paper").mix)
    assert mixture.shares == pytest.approx({"CMU": 0.12 / 0.28, "MOYO": 0.16 / 0.28})
    assert mixture.note.startswith("Of a batch 42.9% CMU, 57.1% MOYO; renormalised without KIT, BMLrub, DanceDB")
    assert mixture.note.endswith("MPI-Limits, which the store has not; nothing of amass")


def test_the_rest_is_what_is_not_named_by_number_of_poses(store):
    mixture = Mixture.of(store, "moyo=.2,rest=.8")
    assert mixture.shares == pytest.approx({"MOYO": 0.2, "CMU": 0.8 * 1000 / 1300, "amass": 0.8 * 300 / 1300})
    with pytest.raises(UserError, match="got rest"):
        Mixture.of(store, "moyo=1,cmu=1,amass=1,rest=1")


def test_the_paper_s_mixture_without_any_of_its_data_sets(tmp_path):
    with PoseStoreWriter(tmp_path / "p.h5", "test") as writer:
        writer.add("embedded/seed 0", "train", np.zeros((5, 21, 3)), np.zeros(10), fps=30, licence="none")
    mixture = Mixture.of(open_store(tmp_path / "p.h5"), "paper")
    assert mixture.shares == {} and "no data set of the paper's mixture" in mixture.note


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cmu=.12,moyoo=.16", r"no training poses in .*poses\.h5; got moyoo; expected some of CMU, MOYO, amass\."),
        ("kit=1", "got KIT"),
        ("cmu", "not of the form name=number.*got 'cmu'"),
        ("cmu=", "not of the form"),
        ("=1", "not of the form"),
        ("cmu=0,moyo=1", "not of the form.*got 'cmu=0'"),
        ("cmu=-1", "not of the form"),
        ("cmu=nan", "not of the form"),
        ("cmu=inf", "not of the form"),
        ("moyo=1,MOYO=2", "twice; got MOYO"),
        ("Papers", "not of the form"),
    ],
)
def test_a_mixture_that_cannot_be_had_is_one_error(store, text, message):
    with pytest.raises(UserError, match=message) as caught:
        Mixture.of(store, text)
    assert "\n" not in str(caught.value)


SMALL = TokenizerConfig(
    network=NetworkConfig(width=16, blocks=1),
    quantizer=QuantizerConfig(levels=(4, 4), groups=8, layers=1),
    optim=OptimConfig(steps=12, batch=16, warmup=2),
    precision="fp32",
    validate_every=12,
    checkpoint_every=5,
)


def test_training_draws_by_the_mixture_and_resumes_with_it(store, tmp_path, open_body):
    mixed = replace(SMALL, mix="cmu=1,moyo=1")
    digests = []
    for name, config in (("a", mixed), ("b", SMALL)):
        digests.append(train_tokenizer(store, tmp_path / name, config, open_body).read_bytes())
    assert digests[0] != digests[1]
    assert "50.0% CMU" in (tmp_path / "a" / "log.txt").read_text()

    def stop(step, steps, figures):
        if step == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_tokenizer(store, tmp_path / "cut", mixed, open_body, progress=stop)
    train_tokenizer(store, tmp_path / "cut", SMALL, open_body, options=RunOptions(resume=True))
    logs = [(tmp_path / name / "metrics.jsonl").read_text().splitlines()[0] for name in ("a", "cut", "b")]
    losses = [line.split('"loss":')[1] for line in logs]
    assert losses[0] == losses[1] != losses[2]


def test_the_command_line_says_what_is_drawn_and_what_is_missing(store, tmp_path):
    words = ["train", str(store.path), "--run", str(tmp_path / "run"), "--mix"]
    done = CliRunner().invoke(main, [*words, "moyo=1,sfu=2"])
    assert done.exit_code == 2 and done.stderr.count("error:") == 1 and "got SFU" in done.stderr
    assert not (tmp_path / "run").exists()
    settings = ["network.width=16", "network.blocks=1", "optim.steps=2", "optim.batch=8"]
    small = [word for setting in settings for word in ("--set", setting)]
    done = CliRunner().invoke(main, [*words, "paper", *small, "--device", "cpu"])
    assert done.exit_code == 0 and "Of a batch 42.9% CMU, 57.1% MOYO; renormalised without" in done.output


def test_inspect_names_the_data_sets(store):
    lines = describe(store.path).splitlines()
    assert "data set    CMU: 1,000 poses in train" in lines and "data set    KIT: 50 poses in val" in lines
