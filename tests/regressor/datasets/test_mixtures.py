"""Mixtures of data sets: shares, published mixtures, names that do not fit."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner
from streams import numbers, stream_of

from regressor.commands.cli import main
from regressor.datasets.annotation import ReadOptions
from regressor.datasets.crop_dataset import open_crops
from regressor.datasets.crop_store import write_crops
from regressor.datasets.mixtures import MIX_ALL, MIX_TOKENHMR, Mixture, open_mixture
from regressor.datasets.prepare import StoreOptions, prepare_shards
from tokenizer.engine.errors import UserError
from tokenizer.engine.files.state_files import load_state


def test_shares_of_a_mixture(data, config, open_body):
    stream = stream_of(data, config, open_body, "one.h5", "shards", mix="one=3,two=1")
    seen = np.array([numbers(stream[step]) for step in range(100)])
    assert np.mean(seen < 100) == pytest.approx(0.75, abs=0.03)
    mixture = open_mixture([str(data / "one.h5"), f"other={data / 'two.h5'}", str(data / "shards")])
    assert list(mixture.stores) == ["one", "other", "two"] and mixture.shares["one"] == pytest.approx(1 / 3)
    assert mixture.count("val") == 9
    assert numbers(mixture.at_size(32).some("val", 3)) == [0, 101, 102], "the first, the middle, the last"
    listed = data / "list.txt"
    listed.write_text(f"# two of them\n{data / 'one.h5'}\n\nnamed={data / 'shards' / 'two'}  # shards\n")
    assert list(open_mixture([str(listed)]).stores) == ["one", "named"]


def test_published_mixture_over_what_is_there(data):
    paths = [f"H36M_train={data / 'one.h5'}", f"mpii-train={data / 'two.h5'}", f"mine={data / 'shards' / 'two'}"]
    mixture = open_mixture(paths, "mix_all,mine=0.2")
    assert mixture.shares == pytest.approx({"H36M_train": 0.25, "mpii-train": 0.25, "mine": 0.5})
    assert "renormalised without" in mixture.note and "instatrainvitposereplicate" in mixture.note
    assert sum(MIX_ALL.values()) == pytest.approx(1)


def test_the_mixture_of_tokenhmr(data):
    """The weights that are known, and the four that make them one."""
    paths = [f"bedlam={data / 'one.h5'}", f"mpi_inf_train_pruned={data / 'two.h5'}", f"mine={data / 'shards' / 'two'}"]
    mixture = open_mixture(paths, "mix_tokenhmr")
    assert mixture.shares == pytest.approx({"bedlam": 0.18 / 0.22, "mpi_inf_train_pruned": 0.04 / 0.22})
    assert "nothing of mine" in mixture.note
    known = {
        "bedlam": 0.18,
        "ava-train-midframes-1fps-vitpose": 0.13,
        "aic-train-vitpose": 0.13,
        "insta-train-vitpose-replicate": 0.12,
        "mpi-inf-train-pruned": 0.04,
    }
    assert known.items() <= MIX_TOKENHMR.items() and sum(MIX_TOKENHMR.values()) == pytest.approx(1)
    rest = {name: weight for name, weight in MIX_TOKENHMR.items() if name not in known}
    assert rest == {name: MIX_ALL[name] for name in rest} and len(rest) == 4
    with pytest.raises(UserError, match="bedlam"):
        open_mixture([str(data / "one.h5"), str(data / "shards")], "bedlam=.5,one=.5")


@pytest.mark.parametrize(
    ("mix", "says"),
    [
        ("three=1", "three"),
        ("one", "form name=number"),
        ("one=-1", "form"),
        ("one=1,ONE=2", "twice"),
        ("mix_all", "h36m"),
    ],
)
def test_bad_mixtures_are_named(data, mix, says):
    with pytest.raises(UserError, match=says):
        open_mixture([str(data / "one.h5"), str(data / "shards")], mix)


def test_bad_places_are_named(data, tmp_path):
    for paths, says in (
        ([tmp_path / "none"], "No crop store"),
        ([tmp_path], "No prepared data"),
        ([data / "one.h5", data / "one.h5"], "one name"),
    ):
        with pytest.raises(UserError, match=says):
            open_mixture([str(path) for path in paths])


def test_training_on_a_mixture_from_the_command_line(data, config, tokenizer_file, tmp_path, capsys):
    arguments = [
        "train",
        str(data / "one.h5"),
        str(data / "shards"),
        "--tokenizer",
        str(tokenizer_file),
        "--run",
        str(tmp_path / "run"),
        "--set",
        "image_size=32",
        "--set",
        "backbone.width=8",
        "--set",
        "backbone.blocks=[1,1,1]",
        "--set",
        "optim.batch=4",
        "--set",
        "data.workers=0",
        "--set",
        "optim.steps=2",
        "--device",
        "cpu",
    ]
    done = CliRunner().invoke(main, [*arguments, "--mix", "one=1,two=1"], catch_exceptions=False)
    assert done.exit_code == 0 and "50.0% one, 50.0% two" in done.output
    provenance = load_state(tmp_path / "run" / "regressor.pt")["provenance"]
    assert provenance["crops_attributes"]["mixture"] == {"one": 0.5, "two": 0.5}
    assert CliRunner().invoke(main, [*arguments, "--resume"]).exit_code == 0, "the mixture is remembered"
    other = CliRunner().invoke(main, [*arguments, "--resume", "--mix", "one=1,two=2"])
    assert other.exit_code == 2 and "other crops" in other.output
    assert Mixture.of(open_crops(data / "one.h5")).digest == open_crops(data / "one.h5").digest


def test_the_domain_of_synthetic_people_stays_known(crops_file, annotated_people, tmp_path):
    """Training does not mirror the suit; prediction warns of what has never seen a photograph."""
    prepare_shards("synthetic", [crops_file], tmp_path / "one", ReadOptions(), StoreOptions(), workers=1)
    assert open_mixture([str(tmp_path / "one")]).domains == {"suit"}
    with write_crops(tmp_path / "varied.h5", 32, {"train": 2}, {"domain": "varied"}) as writer:
        writer.append("train", {name: values.numpy() for name, values in annotated_people(2).items()})
    with pytest.raises(UserError, match=r"several domains; got suit, varied\. Prepare each"):
        prepare_shards(
            "synthetic",
            [crops_file, tmp_path / "varied.h5"],
            tmp_path / "two",
            ReadOptions(),
            StoreOptions(),
            workers=1,
        )
