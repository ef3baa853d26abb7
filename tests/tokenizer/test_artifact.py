"""The exported file: round trip, strictness, refusal of everything it should not be."""

from __future__ import annotations

import json
import re
import shutil

import h5py
import numpy as np
import pytest
import torch

from tokenizer.artifact import FORMAT_VERSION, export_tokenizer, read_artifact
from tokenizer.body.rotations import axis_angle_to_matrix
from tokenizer.config import NetworkConfig, QuantizerConfig, TokenizerConfig
from tokenizer.engine.errors import UserError
from tokenizer.frozen import load_tokenizer
from tokenizer.network.model import build_tokenizer

CONFIGS = {
    "fsq": QuantizerConfig(levels=(4, 4, 2), groups=3, layers=2),
    "ema_vq": QuantizerConfig(kind="ema_vq", num_tokens=5, num_codes=12, dim=4),
}


def make(path, kind="fsq"):
    torch.manual_seed(0)
    config = TokenizerConfig(network=NetworkConfig(width=16, blocks=1), quantizer=CONFIGS[kind])
    model = build_tokenizer(config.network, config.quantizer)
    poses = axis_angle_to_matrix(0.3 * torch.randn(64, 21, 3))
    model.fit_scale(poses)
    model(poses)
    model.eval()
    export_tokenizer(model, config, path, poses_digest="abc", metrics={"mpjpe_mm": 1.5})
    return model, poses


@pytest.mark.parametrize("kind", CONFIGS)
def test_round_trip(tmp_path, kind):
    model, poses = make(tmp_path / "t.h5", kind)
    frozen = load_tokenizer(tmp_path / "t.h5")
    ids = model.encode(poses)
    assert torch.equal(frozen.encode(poses), ids)
    assert torch.allclose(frozen.decode(ids), model.decode(ids), atol=1e-6)
    assert (frozen.num_tokens, frozen.num_codes) == (model.quantizer.num_tokens, model.num_codes)
    assert frozen.provenance["metrics"] == {"mpjpe_mm": 1.5} and frozen.provenance["poses_digest"] == "abc"
    assert len(frozen.digest) == 64 and frozen.digest == load_tokenizer(tmp_path / "t.h5").digest


@pytest.mark.parametrize("kind", CONFIGS)
def test_soft_decoding_agrees_with_hard_and_with_factors(tmp_path, kind):
    _, poses = make(tmp_path / "t.h5", kind)
    frozen = load_tokenizer(tmp_path / "t.h5")
    ids = frozen.encode(poses)
    one_hot = torch.nn.functional.one_hot(ids, frozen.num_codes).float()
    assert torch.allclose(frozen.decode_soft(one_hot), frozen.decode(ids), atol=1e-5)
    factors = [torch.rand(4, frozen.num_tokens, level).softmax(-1) for level in frozen.levels]
    joint = factors[0]
    for factor in factors[1:]:
        joint = (factor[..., :, None] * joint[..., None, :]).flatten(-2)
    assert torch.allclose(frozen.decode_factored(factors), frozen.decode_soft(joint), atol=1e-5)
    for half in (torch.float16, torch.bfloat16):
        rounded = [factor.to(half) for factor in factors]
        for decode, given in ((frozen.decode_soft, joint.to(half)), (frozen.decode_factored, rounded)):
            decoded = decode(given)
            exact = decode(given.float() if isinstance(given, torch.Tensor) else [one.float() for one in given])
            assert decoded.dtype == torch.float32 and torch.equal(decoded, exact), "rounded once, decoded exactly"
    digits = frozen.split_ids(ids)
    assert [int(d.max()) < level for d, level in zip(digits, frozen.levels, strict=True)] == [True] * len(digits)


def test_frozen_passes_gradients_but_keeps_none_and_stays_in_eval(tmp_path):
    make(tmp_path / "t.h5")
    frozen = load_tokenizer(tmp_path / "t.h5")
    frozen.train()
    assert not any(module.training for module in frozen.modules())
    logits = torch.randn(2, frozen.num_tokens, frozen.num_codes, requires_grad=True)
    frozen.decode_soft(logits.softmax(-1)).square().sum().backward()
    assert logits.grad.abs().sum() > 0
    assert all(p.grad is None and not p.requires_grad for p in frozen.parameters())


def test_leading_dimensions(tmp_path):
    _, poses = make(tmp_path / "t.h5")
    frozen = load_tokenizer(tmp_path / "t.h5")
    ids = frozen.encode(poses[:6].view(2, 3, 21, 3, 3))
    assert ids.shape == (2, 3, frozen.num_tokens)
    assert torch.allclose(frozen.decode(ids).view(6, 21, 3, 3), frozen.decode(ids.view(6, -1)), atol=1e-6)
    assert frozen.encode(poses[0]).shape == (frozen.num_tokens,)


def test_wrong_shapes_and_ids_are_refused(tmp_path):
    make(tmp_path / "t.h5")
    frozen = load_tokenizer(tmp_path / "t.h5")
    for call in (
        lambda: frozen.encode(torch.eye(3).expand(2, 23, 3, 3)),
        lambda: frozen.decode(torch.zeros(2, 5, dtype=torch.long)),
        lambda: frozen.decode(torch.full((frozen.num_tokens,), frozen.num_codes)),
        lambda: frozen.decode_soft(torch.zeros(2, frozen.num_tokens, 7)),
        lambda: frozen.decode_factored([torch.zeros(2, frozen.num_tokens, 7)]),
    ):
        with pytest.raises(UserError):
            call()


def damage(path, how):
    if how == "missing":
        path.unlink()
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "cut short":
        path.write_bytes(path.read_bytes()[:-2000])
    elif how == "text":
        path.write_text("not a tokenizer\n" * 100)
    elif how == "flipped byte":
        with h5py.File(path, "r") as file:
            offset = file["decoder/trunk.0.weight"].id.get_offset()
        data = bytearray(path.read_bytes())
        data[offset + 5] ^= 1
        path.write_bytes(bytes(data))
    else:
        with h5py.File(path, "r+") as file:
            damage_inside(file, how)


def damage_inside(file, how):
    if how == "newer":
        file.attrs["format_version"] = FORMAT_VERSION + 1
    elif how == "format":
        file.attrs["format"] = "something else"
    elif how == "no config":
        del file.attrs["config"]
    elif how == "external link":
        del file["codebook"]
        file["codebook"] = h5py.ExternalLink("/etc/hostname", "/codebook")
    elif how == "soft link":
        del file["codebook"]
        file["codebook"] = h5py.SoftLink("/encoder/mean")
    elif how == "external storage":
        shape = file["codebook"].shape
        del file["codebook"]
        file.create_dataset("codebook", shape, "f4", external=[("/etc/passwd", 0, 4 * int(np.prod(shape)))])
    elif how == "tensor gone":
        del file["decoder/mean"]
    elif how == "tensor more":
        file["decoder/extra"] = np.zeros(3, np.float32)
    elif how == "misshapen":
        del file["decoder/mean"]
        file["decoder/mean"] = np.zeros((3, 3), np.float32)


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("missing", "No tokenizer at"),
        ("empty", "Cannot read"),
        ("cut short", "Cannot read|damaged"),
        ("text", "Cannot read"),
        ("flipped byte", "damaged"),
        ("newer", "newer version"),
        ("format", "is no tokenizer"),
        ("no config", "Cannot read"),
        ("external link", "ExternalLink codebook"),
        ("soft link", "SoftLink codebook"),
        ("external storage", "outside itself"),
        ("tensor gone", "missing decoder/mean"),
        ("tensor more", "unknown decoder/extra"),
        ("misshapen", r"decoder/mean \(3, 3\)"),
    ],
)
def test_damaged_files_get_one_clear_message(tmp_path, how, says):
    path = tmp_path / "t.h5"
    make(path)
    damage(path, how)
    with pytest.raises(UserError, match=says):
        read_artifact(path)


def test_export_leaves_the_old_file_when_the_disk_is_full(tmp_path, monkeypatch):
    path = tmp_path / "t.h5"
    make(path)
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UserError, match=r"No space left on device.*nothing was changed"):
        make(path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


HUGE = {
    "width": {"network": {"width": 12_000}},
    "blocks": {"network": {"blocks": 10**7}},
    "levels": {"quantizer": {"levels": [64] * 5}},
    "layers": {"quantizer": {"layers": 10**9}},
    "codes": {"quantizer": {"kind": "ema_vq", "num_codes": 10**9}},
    "tokens": {"quantizer": {"kind": "ema_vq", "num_codes": 32, "dim": 3, "num_tokens": 10**12}},
    "conv": {"network": {"kind": "conv", "width": 10**5}, "quantizer": {"kind": "ema_vq", "num_tokens": 160}},
    "attention": {"network": {"kind": "attention", "width": 32 * 10**4}},
    "negative": {"quantizer": {"levels": [-4, -4, 2]}},
}


def test_a_configuration_that_is_larger_than_its_file_takes_nothing(tmp_path, measured):
    """Width 12,000 took 13 s and 4.6 GiB before the file was refused."""
    make(tmp_path / "t.h5")
    for size, changes in HUGE.items():
        shutil.copy(tmp_path / "t.h5", tmp_path / size)
        with h5py.File(tmp_path / size, "r+") as file:
            settings = json.loads(file.attrs["config"])
            for group in changes:
                settings[group] |= changes[group]
            file.attrs["config"] = json.dumps(settings)
    paths = [tmp_path / size for size in HUGE]
    for size, cost in zip(HUGE, measured("from tokenizer import load_tokenizer", "load_tokenizer(path)", paths)):
        assert re.search("fit its configuration|impossible configuration", cost["message"]), (size, cost)
        assert cost["mib"] < 100 and cost["seconds"] < 3, (size, cost)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(tmp_path, value):
    """Although their digest is right, as when a training had gone astray."""
    model, _ = make(tmp_path / "t.h5")
    with torch.no_grad():
        model.decoder.trunk[0].bias[3] = value
    export_tokenizer(model, read_artifact(tmp_path / "t.h5").config, tmp_path / "bad.h5")
    with pytest.raises(UserError, match=r"not finite; got decoder/trunk\.0\.bias"):
        load_tokenizer(tmp_path / "bad.h5")


def test_data_that_is_only_claimed_takes_nothing(tmp_path, measured):
    shape = (1 << 15, 1 << 15)
    layout = h5py.VirtualLayout(shape, "f4")
    layout[:2, :2] = h5py.VirtualSource(str(tmp_path / "other.h5"), "x", shape=(2, 2))
    claims = {
        "fill value": lambda file: file.create_dataset("more", shape, "f4", chunks=(64, 64), fillvalue=1.0),
        "compressed": lambda file: file.create_dataset("more", data=np.zeros((99, 99)), compression="gzip"),
        "large chunks": lambda file: file.create_dataset(
            "more", (2, 2), "f4", maxshape=shape, chunks=(1 << 14, 1 << 14)
        ),
        "virtual": lambda file: file.create_virtual_dataset("more", layout),
    }
    make(tmp_path / "t.h5")
    for kind, claim in claims.items():
        shutil.copy(tmp_path / "t.h5", tmp_path / kind)
        with h5py.File(tmp_path / kind, "r+") as file:
            claim(file)
    paths = [tmp_path / kind for kind in claims]
    for kind, cost in zip(claims, measured("from tokenizer import load_tokenizer", "load_tokenizer(path)", paths)):
        assert re.search("claims more data|compressed data|outside itself", cost["message"]), (kind, cost)
        assert cost["mib"] < 100, (kind, cost)


def test_rounded_weights_take_half_the_bytes_and_are_read_as_float32(tmp_path):
    model, poses = make(tmp_path / "t.h5")
    config = TokenizerConfig(network=NetworkConfig(width=16, blocks=1), quantizer=CONFIGS["fsq"])
    export_tokenizer(model, config, tmp_path / "half.h5", half=True, about={"card": "Know this."})
    whole, half = load_tokenizer(tmp_path / "t.h5"), load_tokenizer(tmp_path / "half.h5")
    with h5py.File(tmp_path / "half.h5") as file, h5py.File(tmp_path / "t.h5") as other:
        assert (file.attrs["format_version"], other.attrs["format_version"]) == (2, 1)
        assert {data.dtype for data in file["decoder"].values()} == {np.dtype("f2")}
    assert half.provenance["card"] == "Know this." and half.digest != whole.digest
    assert {weight.dtype for weight in half.parameters()} == {torch.float32}
    for name, weight in whole.tokenizer.named_parameters():
        assert torch.equal(half.tokenizer.get_parameter(name), weight.half().float()), name
    ids = whole.encode(poses)
    assert torch.allclose(half.decode(ids), whole.decode(ids), atol=5e-3)


def test_half_precision_is_refused_in_a_file_of_the_first_version(tmp_path):
    model, _ = make(tmp_path / "t.h5")
    config = TokenizerConfig(network=NetworkConfig(width=16, blocks=1), quantizer=CONFIGS["fsq"])
    export_tokenizer(model, config, tmp_path / "half.h5", half=True)
    with h5py.File(tmp_path / "half.h5", "a") as file:
        file.attrs["format_version"] = 1
    with pytest.raises(UserError, match="float16, not float32"):
        read_artifact(tmp_path / "half.h5")
