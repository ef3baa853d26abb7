"""Clips to tokens and back: what is not body pose comes through untouched."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tokenizer.artifact import export_tokenizer
from tokenizer.body.rotations import axis_angle_to_matrix
from tokenizer.body.skeleton import body_index
from tokenizer.codec import complete_clip, decode_clip, encode_clip, visible_joints
from tokenizer.config import NetworkConfig, QuantizerConfig, TokenizerConfig
from tokenizer.engine.errors import UserError
from tokenizer.frozen import load_tokenizer
from tokenizer.model import build_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    torch.manual_seed(0)
    config = TokenizerConfig(
        network=NetworkConfig(width=16, blocks=1), quantizer=QuantizerConfig(levels=(4, 4, 4), groups=21, layers=2)
    )
    model = build_tokenizer(config.network, config.quantizer).eval()
    return load_tokenizer(export_tokenizer(model, config, tmp_path_factory.mktemp("t") / "t.h5"))


def write_clip(path, width=156, frames=50, **changes):
    draw = np.random.default_rng(0)
    arrays = {
        "poses": draw.normal(size=(frames, width)) * 0.3, "trans": draw.normal(size=(frames, 3)),
        "betas": draw.normal(size=16), "gender": np.array(b"female"), "mocap_framerate": np.array(120.0),
    }  # fmt: skip
    np.savez(path, **(arrays | changes))
    return dict(np.load(path))


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


def test_the_split_copy_of_smplx_files_is_kept_in_step(tmp_path, tokenizer, open_body):
    write_clip(tmp_path / "clip.npz", 165, pose_body=np.zeros((50, 63)))
    encode_clip(tokenizer, tmp_path / "clip.npz", tmp_path / "tokens.npz", open_body)
    decode_clip(tokenizer, tmp_path / "tokens.npz", tmp_path / "back.npz")
    back = np.load(tmp_path / "back.npz")
    assert np.array_equal(back["pose_body"], back["poses"][:, 3:66])


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
    seen = np.delete(np.arange(156), np.r_[[3 + 3 * j + k for j in np.flatnonzero(~visible_joints(["left_arm"]).numpy())
                                            for k in range(3)]])  # fmt: skip
    assert np.allclose(full[:, seen], clip["poses"][:, seen], atol=1e-6)
    assert not np.allclose(full[:, elbow], clip["poses"][:, elbow], atol=1e-2)


def test_bad_input_gets_words(tmp_path, tokenizer, open_body):
    write_clip(tmp_path / "odd.npz", 72)
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
