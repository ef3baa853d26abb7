"""Clips as files: read in parts, carried arrays kept in step."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from made_clips import write_clip

from tokenizer import codec
from tokenizer.codec import complete_clip, decode_clip, encode_clip
from tokenizer.mocap import clip_file


def test_the_split_copy_of_smplx_files_is_kept_in_step(tmp_path, tokenizer, open_body):
    write_clip(tmp_path / "clip.npz", 165, pose_body=np.zeros((50, 63)))
    encode_clip(tokenizer, tmp_path / "clip.npz", tmp_path / "tokens.npz", open_body)
    decode_clip(tokenizer, tmp_path / "tokens.npz", tmp_path / "back.npz")
    back = np.load(tmp_path / "back.npz")
    assert np.array_equal(back["pose_body"], back["poses"][:, 3:66])


def test_hours_go_through_in_parts(tmp_path, tokenizer, open_body, monkeypatch):
    write_clip(tmp_path / "clip.npz", 165, frames=50, pose_body=np.zeros((50, 63)))
    results = []
    for size in (4096, 7):
        monkeypatch.setattr(clip_file, "BATCH", size)
        monkeypatch.setattr(codec, "BATCH", size)
        report = encode_clip(tokenizer, tmp_path / "clip.npz", tmp_path / "ids.npz", open_body)
        decode_clip(tokenizer, tmp_path / "ids.npz", tmp_path / "back.npz")
        complete_clip(tokenizer, tmp_path / "clip.npz", ["left_arm"], tmp_path / "whole.npz")
        results.append((report, *({**np.load(tmp_path / f"{name}.npz")} for name in ("ids", "back", "whole"))))
    assert results[0][0].mpjpe_mm == pytest.approx(results[1][0].mpjpe_mm, rel=1e-5)
    for one, other in zip(results[0][1:], results[1][1:], strict=True):
        assert one.keys() == other.keys()
        assert all(one[key].dtype == other[key].dtype for key in one)
        np.testing.assert_array_equal(one.get("tokens", 0), other.get("tokens", 0))
        np.testing.assert_allclose(one.get("poses", 0), other.get("poses", 0), atol=1e-5)


def test_memory_does_not_grow_with_the_clip(tmp_path, tokenizer, open_body, monkeypatch):
    monkeypatch.setattr(clip_file, "BATCH", 50)
    monkeypatch.setattr(codec, "BATCH", 50)
    peaks = []
    for frames in (200, 200, 1500):
        write_clip(tmp_path / "clip.npz", frames=frames)
        tracemalloc.start()
        encode_clip(tokenizer, tmp_path / "clip.npz", tmp_path / "ids.npz", open_body)
        decode_clip(tokenizer, tmp_path / "ids.npz", tmp_path / "back.npz")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < peaks[1] + 1500 * 156 * 8 / 4, "arrays of the whole clip are never made"
