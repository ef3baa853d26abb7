"""Clips to tokens and back: what is not body pose comes through untouched."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
import torch
from made_clips import write_clip

from tokenizer.body.metrics import quantile
from tokenizer.body.rotations import axis_angle_to_matrix
from tokenizer.body.skeleton import body_index
from tokenizer.codec import complete_clip, decode_clip, encode_clip, visible_joints
from tokenizer.engine.errors import UserError


@pytest.mark.parametrize("width", [156, 165])
def test_round_trip_carries_everything_else(tmp_path, tokenizer, open_body, width):
    clip = write_clip(tmp_path / "clip.npz", width)
    report = encode_clip(tokenizer, tmp_path / "clip.npz", tmp_path / "tokens.npz", open_body)
    assert decode_clip(tokenizer, tmp_path / "tokens.npz", tmp_path / "back.npz") == 50 == report.frames
    back = dict(np.load(tmp_path / "back.npz"))
    assert back.keys() == clip.keys() and back["poses"].dtype == clip["poses"].dtype
    for name in ("trans", "betas", "gender", "mocap_framerate"):
        assert np.array_equal(back[name], clip[name])
    outside = np.r_[0:3, 66:width]
    assert np.array_equal(back["poses"][:, outside], clip["poses"][:, outside])
    rotations = axis_angle_to_matrix(torch.from_numpy(clip["poses"][:, 3:66].astype(np.float32)).view(-1, 21, 3))
    again = axis_angle_to_matrix(torch.from_numpy(back["poses"][:, 3:66].astype(np.float32)).view(-1, 21, 3))
    assert torch.allclose(again, tokenizer.decode(tokenizer.encode(rotations)), atol=1e-5)
    assert report.mpjpe_p95_mm > report.mpjpe_mm > 0


def test_completion_leaves_visible_joints_and_ignores_hidden_ones(tmp_path, tokenizer):
    clip = write_clip(tmp_path / "clip.npz")
    changed = clip["poses"].copy()
    elbow = slice(3 + 3 * body_index("left_elbow"), 6 + 3 * body_index("left_elbow"))
    changed[:, elbow] = 1.0
    write_clip(tmp_path / "changed.npz", poses=changed)
    for name in ("clip", "changed"):
        complete_clip(tokenizer, tmp_path / f"{name}.npz", ["left_arm"], tmp_path / f"{name}_full.npz")
    full, other = (np.load(tmp_path / f"{name}_full.npz")["poses"] for name in ("clip", "changed"))
    assert np.allclose(full, other, atol=1e-5), "what is hidden is not looked at"
    seen = np.delete(
        np.arange(156),
        np.r_[[3 + 3 * j + k for j in np.flatnonzero(~visible_joints(["left_arm"]).numpy()) for k in range(3)]],
    )
    assert np.allclose(full[:, seen], clip["poses"][:, seen], atol=1e-6)
    assert not np.allclose(full[:, elbow], clip["poses"][:, elbow], atol=1e-2)


def test_bad_input_gets_words(tmp_path, tokenizer, open_body):
    write_clip(tmp_path / "odd.npz", 60)
    write_clip(tmp_path / "nan.npz", poses=np.full((3, 156), np.nan))
    np.savez(tmp_path / "none.npz", a=np.zeros(3))
    for name in ("odd", "nan", "none", "absent"):
        with pytest.raises(UserError):
            encode_clip(tokenizer, tmp_path / f"{name}.npz", tmp_path / "out.npz", open_body)
    with pytest.raises(UserError, match="holds no tokens"):
        decode_clip(tokenizer, tmp_path / "odd.npz", tmp_path / "out.npz")
    write_clip(tmp_path / "clip.npz")
    encode_clip(tokenizer, tmp_path / "clip.npz", tmp_path / "tokens.npz", open_body)
    other = dict(np.load(tmp_path / "tokens.npz")) | {"tokenizer": np.array("0" * 64)}
    np.savez(tmp_path / "other.npz", **other)
    with pytest.raises(UserError, match="another tokenizer"):
        decode_clip(tokenizer, tmp_path / "other.npz", tmp_path / "out.npz")
    with pytest.raises(UserError, match="left_elbow"):
        visible_joints(["left_elbw"])
    with pytest.raises(UserError, match="Every joint is hidden"):
        visible_joints(["left_arm", "right_arm", "left_leg", "right_leg", "trunk", "head"])
    assert not (tmp_path / "out.npz").exists()


def test_nan_never_becomes_an_id(tmp_path, tokenizer, open_body):
    poses = write_clip(tmp_path / "clip.npz")["poses"]
    poses[33, 40] = np.nan
    write_clip(tmp_path / "clip.npz", poses=poses)
    with pytest.raises(UserError, match="not finite; got in its poses, first in frame 33"):
        encode_clip(tokenizer, tmp_path / "clip.npz", tmp_path / "ids.npz", open_body)
    assert not (tmp_path / "ids.npz").exists() and not list(tmp_path.glob("*.partial"))
    with pytest.raises(UserError, match="not finite"):
        tokenizer.encode(torch.full((2, 21, 3, 3), float("nan")))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t: t.encode(torch.eye(3).expand(2, 21, 3, 3).double()), "wrong type; got torch.float64.*float"),
        (lambda t: t.encode(np.zeros((2, 21, 3, 3))), "no tensor; got ndarray"),
        (lambda t: t.encode(torch.zeros(63)), "wrong shape"),
        (lambda t: t.encode(torch.eye(3).expand(2, 21, 3, 3), torch.ones(2, 22)), "visible is unclear"),
        (lambda t: t.decode(torch.zeros(2, t.num_tokens)), "ids have the wrong type; got torch.float32"),
        (lambda t: t.decode(torch.tensor(1)), "ids have the wrong shape"),
        (lambda t: t.decode([[1]]), "wrong type; got list"),
    ],
)
def test_the_python_interface_says_what_is_wrong(tokenizer, call, message):
    with pytest.raises(UserError, match=message):
        call(tokenizer)


def test_no_poses_are_no_ids(tokenizer):
    ids = tokenizer.encode(torch.zeros(0, 21, 3, 3))
    assert ids.shape == (0, tokenizer.num_tokens) and tokenizer.decode(ids).shape == (0, 21, 3, 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tokens": np.zeros(50, np.int32)}, "is damaged"),
        ({"tokens": np.full((50, 6), "1")}, "is damaged"),
        ({"poses_but_body": np.zeros(50)}, "is damaged"),
        ({"tokens": np.full((50, 6), 99999)}, "out of range"),
        ({"poses_but_body": np.full((50, 93), "1")}, "is damaged"),
    ],
)
def test_tokens_that_are_none(tmp_path, tokenizer, open_body, changes, message):
    write_clip(tmp_path / "clip.npz")
    encode_clip(tokenizer, tmp_path / "clip.npz", tmp_path / "ids.npz", open_body)
    np.savez(tmp_path / "ids.npz", **{**np.load(tmp_path / "ids.npz"), **changes})
    with pytest.raises(UserError, match=message):
        decode_clip(tokenizer, tmp_path / "ids.npz", tmp_path / "back.npz")


def test_a_quantile_of_any_number_of_values():
    values = torch.arange(2**24 + 2, dtype=torch.float32)
    assert quantile(values, 0.5) == pytest.approx((2**24 + 1) / 2, rel=1e-6)
    few = torch.rand(99, generator=torch.Generator().manual_seed(0))
    assert quantile(few, 0.95) == pytest.approx(float(few.quantile(0.95)), rel=1e-6)
    assert np.isnan(quantile(few[:0], 0.5)) and quantile(few.bfloat16(), 1.0) == pytest.approx(1, abs=0.05)


def test_any_damage_is_one_message_or_harmless(tmp_path, tokenizer, open_body):
    write_clip(tmp_path / "clip.npz", frames=3)
    encode_clip(tokenizer, tmp_path / "clip.npz", tmp_path / "ids.npz", open_body)
    draw = np.random.default_rng(0)
    for name in ("clip", "ids"):
        whole = (tmp_path / f"{name}.npz").read_bytes()
        for _ in range(40):
            data = bytearray(whole)
            for place in draw.integers(len(data), size=3):
                data[place] ^= int(draw.integers(1, 256))
            (tmp_path / "bad.npz").write_bytes(data[: int(len(data) * min(1, draw.uniform(0.5, 2)))])
            with contextlib.suppress(UserError):
                if name == "clip":
                    encode_clip(tokenizer, tmp_path / "bad.npz", tmp_path / "out.npz", open_body)
                else:
                    decode_clip(tokenizer, tmp_path / "bad.npz", tmp_path / "out.npz")
    assert not list(tmp_path.glob("*.partial"))
