"""Training: it learns, it refuses what it cannot use, and a kill at any moment changes nothing."""

from __future__ import annotations

import json
import re
import socket
from dataclasses import replace
from functools import partial

import pytest
import torch
from click.testing import CliRunner
from narrow_networks import paper_like

from regressor.checkpoints.regressor_file import save_regressor
from regressor.commands.cli import main
from regressor.config import AugmentConfig
from regressor.datasets.crop_dataset import open_crops
from regressor.datasets.crop_store import write_crops
from regressor.network.model import build_regressor, normalise
from regressor.people.photos import load_for
from regressor.training import train as training
from regressor.training import validation
from regressor.training.train import train_regressor
from tokenizer.body.rotations import geodesic_distance
from tokenizer.engine.config import resolve, to_dict
from tokenizer.engine.errors import UserError
from tokenizer.engine.files.state_files import load_state
from tokenizer.engine.training import scaling, train_state
from tokenizer.engine.training.run import RunOptions
from tokenizer.engine.training.scaling import LossScale

OTHER_FIGURES = {"val_mpjpe_mm", "gradient_norm", "images_per_s", "data_wait", "loss_scale", "skipped_steps"}


@pytest.fixture(scope="module")
def crops(crops_file):
    return open_crops(crops_file)


def other_crops(path, annotated_people, counts, **changes):
    with write_crops(path, 32, counts, {}) as writer:
        for split, count in counts.items():
            writer.append(split, {k: v.numpy() for k, v in {**annotated_people(count, seed=7), **changes}.items()})
    return open_crops(path)


def weights_of(path):
    return load_state(path)["network"]


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_it_learns_and_leaves_a_run_folder(tmp_path, crops, tokenizer, tiny_config, open_body):
    seen = []
    config = replace(
        tiny_config,
        optim=replace(tiny_config.optim, steps=60, batch=12, lr=1e-2),
        checkpoint_every=60,
        augment=AugmentConfig(rotate_deg=0, scale=0, shift=0, colour=0, noise=0),
    )
    path = train_regressor(
        crops, tokenizer, tmp_path / "run", config, open_body, progress=lambda *figures: seen.append(figures)
    )
    assert path == tmp_path / "run" / "regressor.pt" and [step for step, _, _ in seen] == list(range(1, 61))
    first, last = (
        sum(figures[name] for name in figures.keys() - OTHER_FIGURES) for _, _, figures in (seen[0], seen[-1])
    )
    assert last < 0.8 * first
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert {"val_mpjpe_mm", "val_pa_mpjpe_mm", "val_orientation_deg"} <= records[-1].keys()
    state = load_state(path)
    assert state["tokenizer"] == tokenizer.digest and state["provenance"]["crops_attributes"] == {"domain": "suit"}
    best = min(record["val_mpjpe_mm"] for record in records if "val_mpjpe_mm" in record)
    assert state["provenance"]["metrics"]["val_mpjpe_mm"] == best


def test_a_resumed_run_ends_bit_identical(tmp_path, crops, tokenizer, tiny_config, open_body):
    whole = train_regressor(crops, tokenizer, tmp_path / "whole", tiny_config, open_body)

    class Stop(Exception):
        pass

    def stop(step, *_):
        if step == 5:
            raise Stop

    with pytest.raises(Stop):
        train_regressor(crops, tokenizer, tmp_path / "broken", tiny_config, open_body, progress=stop)
    steps = []
    resumed = train_regressor(
        crops,
        tokenizer,
        tmp_path / "broken",
        tiny_config,
        open_body,
        options=RunOptions(resume=True),
        progress=lambda step, *_: steps.append(step),
    )
    assert steps == [5, 6, 7, 8], "from the checkpoint after step 4"
    assert same(weights_of(whole), weights_of(resumed))


def test_a_nan_figure_is_never_best(tmp_path, crops, tokenizer, tiny_config, open_body, monkeypatch):
    figures = iter([float("nan"), 3.0, float("nan"), 5.0])
    monkeypatch.setattr(validation, "score_predictions", lambda *_, **__: {"mpjpe_mm": torch.tensor([next(figures)])})
    config = replace(tiny_config, validate_every=2, pictures=0)
    state = load_state(train_regressor(crops, tokenizer, tmp_path / "run", config, open_body))
    assert state["provenance"]["weights"] == "best, step 4" and state["provenance"]["metrics"] == {"val_mpjpe_mm": 3.0}


def test_fp16_learns_skips_and_resumes(tmp_path, crops, tokenizer, tiny_config, open_body, monkeypatch):
    """From a scale that is too large the first steps overflow; a run broken among them ends as the whole one does."""
    monkeypatch.setattr(train_state, "LossScale", partial(LossScale, first=2.0**20))
    config = replace(
        tiny_config,
        precision="fp16",
        optim=replace(tiny_config.optim, steps=60, batch=12, lr=1e-2),
        validate_every=60,
        checkpoint_every=5,
        augment=AugmentConfig(rotate_deg=0, scale=0, shift=0, colour=0, noise=0),
    )
    seen = {}

    def train(run, until=None, **options):
        def progress(step, steps, figures):
            seen[step] = figures
            if step == until:
                raise KeyboardInterrupt

        return train_regressor(
            crops, tokenizer, tmp_path / run, config, open_body, options=RunOptions(**options), progress=progress
        )

    whole = train("whole")
    skipped = [step for step, figures in seen.items() if "gradient_norm" not in figures]
    assert skipped[0] == 1 and 6 <= len(skipped) < 20
    assert seen[60]["skipped_steps"] == len(skipped) and seen[60]["loss_scale"] <= 2.0 ** (20 - len(skipped))
    first, last = (sum(value for name, value in seen[step].items() if name not in OTHER_FIGURES) for step in (1, 59))
    assert last < 0.85 * first
    with pytest.raises(KeyboardInterrupt):
        train("broken", until=6)
    assert same(weights_of(whole), weights_of(train("broken", resume=True)))


def test_fp16_gives_up_when_every_step_overflows(tmp_path, crops, tokenizer, tiny_config, open_body, monkeypatch):
    monkeypatch.setattr(train_state, "LossScale", partial(LossScale, first=2.0**100))
    monkeypatch.setattr(scaling, "_IN_A_ROW", 3)
    with pytest.raises(UserError, match=r"Non-finite loss or gradient at step 3.*nan_batch"):
        train_regressor(crops, tokenizer, tmp_path / "run", replace(tiny_config, precision="fp16"), open_body)
    assert (tmp_path / "run" / "nan_batch.pt").exists()


@pytest.mark.parametrize("name", ["resnet", "vit"])
def test_fp16_predicts_within_a_degree_of_fp32(tmp_path, tokenizer, tiny_config, open_body, annotated_people, name):
    """By files, as `predict` does it."""
    config = tiny_config if name == "resnet" else paper_like(tiny_config)
    torch.manual_seed(0)
    built = build_regressor(config, tokenizer)
    path = save_regressor(tmp_path / "r.pt", built.network, config, tokenizer, {})
    people = annotated_people(4, size=config.image_size)
    exact, half = (
        load_for(open_body, path, tokenizer, "cpu", kind)(normalise(people["image"]), box=people["box"], K=people["K"])
        for kind in ("fp32", "fp16")
    )
    for field in ("global_orient", "body_pose"):
        turned = geodesic_distance(getattr(exact, field), getattr(half, field)).rad2deg()
        assert 0 < turned.max() < 1


def test_what_cannot_be_trained_on_is_refused(tmp_path, crops, tokenizer, tiny_config, open_body, annotated_people):
    def refused(says, store, config=tiny_config, run="run", resume=False):
        with pytest.raises(UserError, match=says):
            train_regressor(store, tokenizer, tmp_path / run, config, open_body, options=RunOptions(resume=resume))

    refused("No run at", crops, resume=True)
    short = replace(tiny_config, optim=replace(tiny_config.optim, steps=1))
    train_regressor(crops, tokenizer, tmp_path / "run", short, open_body)
    refused("already holds a run", crops)
    others = other_crops(tmp_path / "others.h5", annotated_people, {"train": 4})
    refused("other crops", others, resume=True)
    refused("4 train and 0 val", others, run="none")
    uneven = replace(tiny_config, data=replace(tiny_config.data, rank_partitions=3))
    refused("4 images, 3 partitions", crops, uneven, run="lanes")
    refused("32 px", crops, replace(tiny_config, image_size=64), run="large")
    settings = json.loads((tmp_path / "run" / "config.json").read_text())
    (tmp_path / "run" / "config.json").write_text(json.dumps({**settings, "tokenizer": "0" * 64}))
    refused("another tokenizer", crops, resume=True)


def test_a_loss_that_is_no_number_stops_and_keeps_the_batch(
    tmp_path, tokenizer, tiny_config, open_body, annotated_people
):
    nothing = torch.full((6, 10), float("nan"))
    crops = other_crops(tmp_path / "nan.h5", annotated_people, {"train": 6, "val": 6}, betas=nothing)
    with pytest.raises(UserError, match=r"Non-finite loss or gradient at step 0.*nan_batch"):
        train_regressor(crops, tokenizer, tmp_path / "run", tiny_config, open_body)
    assert load_state(tmp_path / "run" / "nan_batch.pt")["image"].shape == (4, 3, 32, 32)


def test_processes_that_cannot_meet_get_one_message(tmp_path, crops, tokenizer_file, monkeypatch):
    arguments = ["train", str(crops.path), "--tokenizer", str(tokenizer_file), "--run", str(tmp_path / "run")]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for variables, says in (
            ({"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}, "port .* is in use"),
            ({"MASTER_ADDR": ""}, "asks for several processes, but not where they meet; got no MASTER_ADDR"),
            ({"WORLD_SIZE": "many"}, "WORLD_SIZE is not a number"),
        ):
            for name, value in variables.items():
                monkeypatch.setenv(name, value)
            done = CliRunner().invoke(main, arguments)
            assert done.exit_code == 2 and len(re.findall(f"error: .*{says}", done.output)) == 1, done.output
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_kill_dash_nine_and_resume(
    tmp_path, crops, tokenizer, tokenizer_file, tiny_config, open_body, killed_after_a_checkpoint
):
    """The process dies without a word, at whatever instant; the resumed run ends with the same weights."""
    config = replace(tiny_config, optim=replace(tiny_config.optim, steps=40), device="cpu")
    (tmp_path / "config.json").write_text(json.dumps(to_dict(config)))
    killed_after_a_checkpoint(
        "regressor.commands.cli",
        [
            "train",
            crops.path,
            "--tokenizer",
            tokenizer_file,
            "--run",
            tmp_path / "killed",
            "--config",
            tmp_path / "config.json",
            "--device",
            "cpu",
        ],
        tmp_path / "killed",
    )
    assert not (tmp_path / "killed" / "regressor.pt").exists()
    resumed = train_regressor(crops, tokenizer, tmp_path / "killed", config, open_body, options=RunOptions(resume=True))
    whole = train_regressor(crops, tokenizer, tmp_path / "whole", config, open_body)
    assert same(weights_of(resumed), weights_of(whole))


def test_the_suit_is_never_mirrored(tmp_path, crops, tokenizer, tiny_config, open_body, annotated_people):
    """Its sides differ; what is trained on is written down. Other people are mirrored as configured."""
    config = replace(tiny_config, augment=AugmentConfig(flip=0.5), optim=replace(tiny_config.optim, steps=1))
    others = other_crops(tmp_path / "crops.h5", annotated_people, {"train": 4, "val": 2})
    for name, store, flip in (("suit", crops, 0.0), ("others", others, 0.5)):
        path = train_regressor(store, tokenizer, tmp_path / name, config, open_body)
        assert load_state(path)["config"]["augment"]["flip"] == flip


@pytest.mark.parametrize(
    ("assignment", "says"),
    [
        ("backbone.trainable=99", "no such last blocks"),
        ("optim.layer_decay=0.5", "Only a ViT has learning rates"),
    ],
)
def test_a_refusal_leaves_nothing_behind(tmp_path, crops, tokenizer, tiny_config, open_body, assignment, says):
    """Also one that comes after the run folder was made; and what stood in that folder before stays."""
    config = resolve(tiny_config, assignments=[assignment])
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "stage.json").write_text("{}")
    for run in ("new/run", "old"):
        with pytest.raises(UserError, match=says):
            train_regressor(crops, tokenizer, tmp_path / run, config, open_body)
    assert sorted(tmp_path.iterdir()) == [tmp_path / "old"]
    assert [path.name for path in (tmp_path / "old").iterdir()] == ["stage.json"]


def test_a_run_that_has_something_to_show_stays(tmp_path, crops, tokenizer, tiny_config, open_body):
    def fail_after(step):
        def progress(done, *_):
            if done == step:
                raise UserError("broken")

        return progress

    for step in (1, 2):
        with pytest.raises(UserError, match="broken"):
            train_regressor(
                crops, tokenizer, tmp_path / f"run {step}", tiny_config, open_body, progress=fail_after(step)
            )
    assert [path.name for path in tmp_path.iterdir()] == ["run 2"], "a checkpoint to go on from"


def test_what_is_compiled(tmp_path, crops_file, tokenizer_file, tiny_config, monkeypatch):
    """The network that trains, and not the average of it, which is validated and exported."""
    compiled = []
    monkeypatch.setattr(training, "compile_in_place", lambda modules, device: compiled.extend(modules))
    settings = {
        k: v
        for k, v in to_dict(
            replace(tiny_config, optim=replace(tiny_config.optim, steps=1, warmup=0), pictures=0)
        ).items()
        if k != "device"
    }
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    for given in ([], ["--compile"]):
        done = CliRunner().invoke(
            main,
            [
                "train",
                str(crops_file),
                "--tokenizer",
                str(tokenizer_file),
                "--run",
                str(tmp_path / f"run{len(given)}"),
                "--config",
                str(tmp_path / "settings.json"),
                "--device",
                "cpu",
                *given,
            ],
        )
        assert done.exit_code == 0, done.output
        assert [type(module).__name__ for module in compiled] == ["ResNet", "QueryDecoder", "TokenHead"] * len(given)
    assert json.loads((tmp_path / "run1" / "config.json").read_text())["regressor"]["compile"] is True


@pytest.mark.slow
def test_a_compiled_training_is_that_of_the_plain_network(tmp_path, crops, tokenizer, tiny_config, open_body):
    config = replace(
        tiny_config,
        optim=replace(tiny_config.optim, steps=2),
        pictures=0,
        decoder=replace(tiny_config.decoder, dropout=0.0),
    )
    plain, compiled = (
        train_regressor(crops, tokenizer, tmp_path / str(on), replace(config, compile=on), open_body)
        for on in (False, True)
    )
    ours, theirs = weights_of(plain), weights_of(compiled)
    assert list(ours) == list(theirs), "names are those of the plain network"
    for name, value in ours.items():
        assert torch.allclose(value.float(), theirs[name].float(), atol=5e-3), name
