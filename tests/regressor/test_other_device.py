"""Every command on a device that is not the CPU: the same results, no tensor left behind, no copy that nobody wrote."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from narrow_networks import paper_like
from other_device import NAME, Elsewhere, OtherDevice

from pipelines.descent import descend
from regressor.checkpoints.regressor_file import save_regressor
from regressor.commands.cli import main
from regressor.config import PUBLISHED_TALS, LossConfig
from regressor.datasets.crop_store import write_crops
from regressor.datasets.posed_keypoints import with_posed_keypoints
from regressor.geometry.camera_models import camera_model
from regressor.losses.calibrate import camera_errors
from regressor.network.model import build_regressor
from regressor.sample import to_device
from regressor.training.gradients import forward_backward
from tokenizer.body.model import load_body
from tokenizer.engine.config import to_dict
from tokenizer.engine.training.scaling import LossScale
from tokenizer.frozen import load_tokenizer


@pytest.fixture
def elsewhere():
    return OtherDevice()


@pytest.fixture(scope="module")
def regressor_file(tmp_path_factory, tiny_config, tokenizer):
    torch.manual_seed(0)
    network = build_regressor(tiny_config, tokenizer).network
    path = tmp_path_factory.mktemp("regressor") / "regressor.pt"
    return save_regressor(path, network, tiny_config, tokenizer, {"body": "open"})


@pytest.fixture(scope="module")
def photographs(make_photographs):
    return make_photographs(8)


@pytest.fixture
def both(elsewhere, tokenizer_file, tmp_path):
    """Runs a command on the CPU and on the other device → what each wrote into its folder, and said."""

    def run(command, *arguments):
        done = {}
        for device in ("cpu", NAME):
            folder = tmp_path / device
            folder.mkdir()
            given = [str(argument).replace("OUT", str(folder)) for argument in arguments]
            with elsewhere if device == NAME else nullcontext():
                result = CliRunner().invoke(
                    main,
                    [command, *given, "--tokenizer", str(tokenizer_file), "--device", device],
                    catch_exceptions=False,
                )
            assert result.exit_code == 0, result.output
            assert bool(elsewhere.uploads) == (device == NAME), "the work was done where it was asked for"
            done[device] = folder
        return done["cpu"], done[NAME]

    return run


def close(ours, theirs, tolerance=1e-3):
    """Whether two plain values from JSON are equal, numbers to ``tolerance``."""
    if isinstance(ours, dict):
        assert ours.keys() == theirs.keys()
        return all(close(value, theirs[key], tolerance) for key, value in ours.items())
    if isinstance(ours, list):
        return len(ours) == len(theirs) and all(close(a, b, tolerance) for a, b in zip(ours, theirs))
    if isinstance(ours, float):
        return ours == pytest.approx(theirs, rel=tolerance, abs=tolerance)
    return True


def test_the_stand_in_refuses_what_a_gpu_refuses(elsewhere):
    """Each of these is a mistake that a real device would show; the stand-in must, too."""
    with elsewhere:
        refusals(elsewhere)


def refusals(elsewhere):
    there, here = torch.ones(3, device=elsewhere.device), torch.ones(3)
    assert there.device.type == NAME and isinstance(there, Elsewhere) and not isinstance(here, Elsewhere)
    for mistake in (
        lambda: there + here,
        lambda: here + there,
        lambda: torch.cat([there, here]),
        lambda: torch.nn.functional.linear(there, torch.ones(2, 3)),
        lambda: there.mul_(here),
        lambda: torch.where(there > 0, there, here),
    ):
        with pytest.raises(RuntimeError, match="same device"):
            mistake()
    for mistake in (
        there.double,
        lambda: torch.zeros(2, dtype=torch.float64, device=elsewhere.device),
        lambda: here.double().to(elsewhere.device),
    ):
        with pytest.raises(TypeError, match="float64"):
            mistake()
    with pytest.raises(TypeError, match="numpy"):
        there.numpy()
    with elsewhere.counting():
        assert (there + torch.tensor(2.0)).tolist() == [3, 3, 3] and len(elsewhere.uploads) == 0
        two = torch.tensor(2.0)
        for hidden in (
            lambda: torch.tensor([1.0, 2.0], device=elsewhere.device),
            lambda: there[[0, 2]],
            lambda: torch.where(there > 0, there, two),
            lambda: here.to(elsewhere.device),
        ):
            before = len(elsewhere.uploads)
            hidden()
            assert len(elsewhere.uploads) == before + 1
    with elsewhere.counting():
        for waits in (lambda: float(there.sum()), lambda: there[there > 0], there.nonzero, there.cpu):
            before = len(elsewhere.downloads)
            waits()
            assert len(elsewhere.downloads) > before


@pytest.mark.parametrize(
    ("command", "forgetful"),
    [
        ("evaluate", "regressor.evaluation.evaluate"),
        ("calibrate", "regressor.losses.calibrate"),
        ("train", "regressor.training.train"),
        ("train", "regressor.training.validation"),
        ("train", "regressor.training.panels"),
    ],
)
def test_a_forgotten_move_is_caught(
    elsewhere, command, forgetful, regressor_file, crops_file, tokenizer_file, tiny_config, tmp_path, monkeypatch
):
    """The proof that the tests below see what they are for: without one ``to_device``, the command fails."""
    given = {
        "evaluate": [regressor_file, crops_file],
        "calibrate": [crops_file, "--baseline", regressor_file, "--out", tmp_path / "t.json"],
        "train": [crops_file, "--run", tmp_path / "run", "--config", tmp_path / "settings.json"],
    }[command]
    plain = to_dict(replace(tiny_config, optim=replace(tiny_config.optim, steps=1, warmup=0)))
    plain["data"]["workers"] = 0
    (tmp_path / "settings.json").write_text(json.dumps(plain))
    monkeypatch.setattr(f"{forgetful}.to_device", lambda sample, device, **_: sample)
    arguments = [command, *map(str, given), "--tokenizer", str(tokenizer_file), "--device", NAME]
    with elsewhere, pytest.raises(RuntimeError, match="same device"):
        CliRunner().invoke(main, arguments, catch_exceptions=False)


def test_evaluate(both, regressor_file, crops_file):
    cpu, other = both("evaluate", regressor_file, crops_file, "--robustness", "--json", "OUT/e.json")
    ours, theirs = (json.loads((folder / "e.json").read_text()) for folder in (cpu, other))
    assert "mean pose, true orientation" in " ".join(ours["errors_mm"]) and close(
        ours["errors_mm"], theirs["errors_mm"], 1e-2
    )


def test_evaluate_2d(both, regressor_file, crops_file):
    cpu, other = both("evaluate", regressor_file, crops_file, "--protocol", "2d", "--json", "OUT/e.json")
    ours, theirs = (json.loads((folder / "e.json").read_text()) for folder in (cpu, other))
    assert close(ours["means"], theirs["means"])


def test_predict(both, regressor_file, tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "photo.png"), image)
    cpu, other = both(
        "predict",
        tmp_path / "photo.png",
        "--box",
        "10,10,50,80",
        "--box",
        "60,5,119,85",
        "--out",
        "OUT",
        "--regressor",
        regressor_file,
    )
    for name in ("photo_0.npz", "photo_1.npz"):
        with np.load(cpu / name) as ours, np.load(other / name) as theirs:
            assert set(ours.files) == set(theirs.files)
            for key in set(ours.files) - {"about"}:
                if ours[key].dtype.kind == "U":
                    assert ours[key] == theirs[key], key
                else:
                    assert np.allclose(ours[key], theirs[key], atol=1e-3), key
    assert (other / "photo_overlay.png").exists()


@pytest.mark.parametrize("camera", [(), ("--camera", "reference")])
def test_calibrate(both, regressor_file, crops_file, camera):
    cpu, other = both("calibrate", crops_file, "--out", "OUT/t.json", "--baseline", regressor_file, *camera)
    ours, theirs = (json.loads((folder / "t.json").read_text()) for folder in (cpu, other))
    assert ours["loss"]["tals"]["rotations"] and close(ours["loss"]["tals"], theirs["loss"]["tals"])


@pytest.fixture(scope="module", params=["small", "paper"])
def to_train(request, tiny_config, annotated_people, tmp_path_factory):
    """A configuration of either kind, all terms of its loss on, the JSON of it, and a crop store of its size."""
    config = replace(tiny_config, loss=replace(LossConfig(vertices_weight=1.0), tals=PUBLISHED_TALS))
    if request.param == "paper":
        config = paper_like(tiny_config)
    config = replace(config, optim=replace(config.optim, steps=2, batch=2), pictures=1, checkpoint_every=1)
    folder = tmp_path_factory.mktemp("to_train")
    counts = {"train": 4, "val": 2}
    with write_crops(folder / "crops.h5", config.image_size, counts, {}) as writer:
        for split, count in counts.items():
            people = annotated_people(count, size=config.image_size)
            writer.append(split, {name: values.numpy() for name, values in people.items()})
    plain = to_dict(config)
    plain["data"]["workers"] = 0
    (folder / "settings.json").write_text(json.dumps({k: v for k, v in plain.items() if k != "device"}))
    return config, folder


def figures(run):
    """What a training noted down but its pace."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    pace = ("seconds", "images_per_s", "data_wait")
    return [{name: value for name, value in line.items() if name not in pace} for line in lines]


def test_train_and_go_on(both, elsewhere, to_train, tokenizer_file):
    _, folder = to_train
    cpu, other = both("train", folder / "crops.h5", "--run", "OUT/run", "--config", folder / "settings.json")
    ours, theirs = figures(cpu / "run"), figures(other / "run")
    assert len(ours) == 2 and close(ours, theirs, 1e-2)
    assert list((other / "run" / "pictures").iterdir()) and (other / "run" / "regressor.pt").exists()
    (other / "run" / "checkpoints" / "step_000000002.pt").unlink()
    with elsewhere:
        done = CliRunner().invoke(
            main,
            [
                "train",
                str(folder / "crops.h5"),
                "--run",
                str(other / "run"),
                "--resume",
                "--tokenizer",
                str(tokenizer_file),
            ],
            catch_exceptions=False,
        )
    assert done.exit_code == 0 and close(figures(other / "run"), theirs, 1e-6), "the last step, once more"


def test_a_step_copies_nothing_and_waits_for_nothing(elsewhere, to_train, tokenizer_file, annotated_people):
    """What is constant lies on the device; what a step asks of it is asked at one place, in ``train``."""
    with elsewhere:
        one_step(elsewhere, to_train[0], tokenizer_file, annotated_people)


def one_step(elsewhere, config, tokenizer_file, annotated_people):
    tokenizer, body = load_tokenizer(tokenizer_file).to(elsewhere.device), load_body().to(elsewhere.device)
    regressor = build_regressor(config, tokenizer).to(elsewhere.device).train()
    batch = to_device(annotated_people(config.optim.batch, size=config.image_size), elsewhere.device)
    for compat in (False, True) if config.loss.form == "published" else (False,):
        again = replace(config, loss=replace(config.loss, compat_reference=compat, tals=PUBLISHED_TALS))
        scale = LossScale(elsewhere.device, "fp32")
        forward_backward(regressor, batch, body, tokenizer, again, 0, scale)  # what is made once is made here
        with elsewhere.counting():
            forward_backward(regressor, batch, body, tokenizer, again, 1, scale)
        assert (elsewhere.uploads, elsewhere.downloads) == ([], [])


def test_finetune(both, photographs, regressor_file):
    cpu, other = both(
        "finetune",
        photographs,
        "--regressor",
        regressor_file,
        "--run",
        "OUT/run",
        "--steps",
        "2",
        "--set",
        "data.workers=0",
    )
    ours, theirs = (json.loads((folder / "run" / "finetune.json").read_text()) for folder in (cpu, other))
    assert close(ours["before"], theirs["before"], 1e-2) and close(ours["after"], theirs["after"], 5e-2)


def test_keypoints_of_annotated_bodies(elsewhere, annotated_people):
    """``calibrate`` fills them where its samples are; two are men, to whom the neutral body is fitted."""
    people = {**annotated_people(4), "gender": torch.tensor([0, 2, 0, 2])}
    people["keypoints_3d"][:, 12:, 3] = 0
    with elsewhere:
        filled = [
            with_posed_keypoints(to_device(people, device), load_body().to(device))["keypoints_3d"].cpu()
            for device in (torch.device("cpu"), elsewhere.device)
        ]
    assert (filled[0][:, 12:, 3] > 0).any(0).all() and torch.allclose(*filled, atol=1e-3)


@pytest.mark.parametrize("space", ["free 6D", "tokens"])
def test_drift(elsewhere, annotated_people, tokenizer_file, space):
    people, curves, errors = annotated_people(3), [], []
    for device in (torch.device("cpu"), elsewhere.device):
        with elsewhere:
            tokenizer, body = load_tokenizer(tokenizer_file).to(device), load_body().to(device)
            there = to_device(people, device)
            curves.append(
                descend(
                    there,
                    body,
                    camera_model("reference"),
                    space,
                    tokenizer=tokenizer,
                    rate=0.1,
                    steps=3,
                    tals=PUBLISHED_TALS,
                )
            )
            errors.append(camera_errors(there, camera_model("fov=60")))
    assert close(curves[0].mpjpe_mm, curves[1].mpjpe_mm) and close(curves[0].error_2d_px, curves[1].error_2d_px)
    assert torch.allclose(*errors, atol=1e-4)


def test_copies_to_a_gpu_do_not_wait():
    class Pinned:
        def to(self, device, non_blocking=False):
            return device.type, non_blocking

    moved = [to_device({"image": Pinned()}, torch.device(name))["image"] for name in ("cuda", "cpu", "mps")]
    assert moved == [("cuda", True), ("cpu", False), ("mps", False)], "a copy to the host would still hold garbage"


@pytest.mark.gpu
def test_a_step_on_a_gpu(to_train, tokenizer_file, annotated_people):
    """The terms of a step equal those of the CPU, and nothing in it waits for the GPU."""
    config, _ = to_train
    terms = []
    for device in (torch.device("cpu"), torch.device("cuda")):
        torch.manual_seed(0)
        tokenizer, body = load_tokenizer(tokenizer_file).to(device), load_body().to(device)
        regressor = build_regressor(config, tokenizer).to(device).eval()
        batch = to_device(annotated_people(config.optim.batch, size=config.image_size), device)
        scale = LossScale(device, "fp32")
        forward_backward(regressor, batch, body, tokenizer, config, 0, scale)
        if device.type == "cuda":
            torch.cuda.set_sync_debug_mode("error")
        try:
            step = forward_backward(regressor, batch, body, tokenizer, config, 1, scale)
        finally:
            if device.type == "cuda":
                torch.cuda.set_sync_debug_mode("default")
        terms.append({name: float(term) for name, term in step.items()})
    assert close(terms[0], terms[1], 2e-2)


@pytest.mark.gpu
def test_evaluate_on_a_gpu(regressor_file, crops_file, tokenizer_file, tmp_path):
    figures = []
    for device in ("cpu", "cuda"):
        done = CliRunner().invoke(
            main,
            [
                "evaluate",
                str(regressor_file),
                str(crops_file),
                "--tokenizer",
                str(tokenizer_file),
                "--device",
                device,
                "--json",
                str(tmp_path / f"{device}.json"),
            ],
            catch_exceptions=False,
        )
        assert done.exit_code == 0, done.output
        figures.append(json.loads((tmp_path / f"{device}.json").read_text())["errors_mm"])
    assert close(*figures, 5e-2)  # type: ignore[call-arg]
