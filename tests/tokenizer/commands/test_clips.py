"""Commands on clips."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from click.testing import CliRunner
from made_clips import write_clip

from tokenizer.codec import visible_joints
from tokenizer.commands.cli import main
from tokenizer.mocap.readers import read_clip

BVH = """HIERARCHY
ROOT Hips {
OFFSET 0 0 0
CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
JOINT Knee {
OFFSET 0 -1 0
CHANNELS 3 Zrotation Xrotation Yrotation
}
}
MOTION
Frames: 2
Frame Time: 0.1
1 2 3 0 0 0 0 20 0
1 2 3 90 0 0 0 30 0
"""


def write_foreign(folder):
    """Motion of other layouts: (file, options)."""
    wave = 0.2 * np.sin(np.arange(9)[:, None] / 9 + np.arange(72)[None])
    (folder / "aist.pkl").write_bytes(pickle.dumps({"smpl_poses": wave, "smpl_trans": wave[:, :3]}))
    np.savez(folder / "smpl72.npz", poses=wave, trans=wave[:, :3], fps=30)
    objects = np.array({"C7": 5}, dtype=object)
    poses = np.concatenate([wave, wave, wave[:, :21]], 1)
    np.savez(folder / "stageii.npz", poses=poses, pose_body=poses[:, 3:66], latent=objects, mocap_frame_rate=30.0)
    (folder / "a.bvh").write_text(BVH)
    (folder / "map.json").write_text('{"pelvis": "Hips", "left_knee": "Knee"}')
    names = ("aist.pkl", "smpl72.npz", "stageii.npz")
    return [*((folder / name, []) for name in names), (folder / "a.bvh", ["--joint-map", str(folder / "map.json")])]


def test_every_command_reads_what_the_others_read(tmp_path, tokenizer_file):
    run = CliRunner()
    for clip, options in write_foreign(tmp_path):
        out = {name: str(tmp_path / f"{clip.stem}_{name}") for name in ("poses.h5", "ids.npz", "back.npz", "whole.npz")}
        for arguments in (
            ["prepare", clip, "--out", out["poses.h5"], "--workers", 1, *options],
            ["encode", tokenizer_file, clip, "--out", out["ids.npz"], *options],
            ["decode", tokenizer_file, out["ids.npz"], "--out", out["back.npz"]],
            ["complete", tokenizer_file, clip, "--hide", "left_knee", "--out", out["whole.npz"], *options],
        ):
            done = run.invoke(main, list(map(str, arguments)))
            assert done.exit_code == 0, done.output
        seen = {"left_knee": None}
        given = read_clip(clip, {"pelvis": ("Hips",), "left_knee": ("Knee",)} if options else None)
        whole = read_clip(out["whole.npz"])
        visible = visible_joints(list(seen)).numpy()
        np.testing.assert_allclose(whole.pose_body[:, visible], given.pose_body[:, visible], atol=1e-5)
        assert whole.fps == pytest.approx(given.fps) and len(read_clip(out["back.npz"]).root) == len(given.root)
        if clip.suffix == ".bvh":  # AMASS's world is z up
            np.testing.assert_allclose(whole.translation[0], given.translation[0][[0, 2, 1]] * [1, -1, 1], atol=1e-6)
    assert (
        "frame rate not stated"
        in run.invoke(
            main, ["encode", str(tokenizer_file), str(tmp_path / "aist.pkl"), "--out", str(tmp_path / "x.npz")]
        ).stderr
    )
    done = run.invoke(main, ["encode", str(tokenizer_file), str(tmp_path / "stageii.npz"), "--out", out["ids.npz"]])
    assert "not carried along, being objects: latent" in done.stderr


@pytest.mark.parametrize("command", ["encode", "complete", "decode"])
def test_nothing_is_written_over_what_it_is_made_from(tmp_path, tokenizer_file, command):
    write_clip(tmp_path / "clip.npz")
    (tmp_path / "link.npz").hardlink_to(tmp_path / "clip.npz")
    extra = ["--hide", "left_knee"] if command == "complete" else []
    before = (tmp_path / "clip.npz").read_bytes(), tokenizer_file.read_bytes()
    for out in (tmp_path / "clip.npz", tmp_path / "." / "clip.npz", tmp_path / "link.npz", tokenizer_file):
        done = CliRunner().invoke(
            main, [command, str(tokenizer_file), str(tmp_path / "clip.npz"), "--out", str(out), *extra]
        )
        assert done.exit_code == 2 and "would be written over" in done.stderr, done.output
    assert before == ((tmp_path / "clip.npz").read_bytes(), tokenizer_file.read_bytes())


@pytest.mark.parametrize(
    "arguments",
    [
        ("prepare", "IN", "--out", "IN"),
        ("train", "IN", "--run", "run", "--out", "IN"),
        ("evaluate", "IN", "IN", "--json", "IN"),
        ("import-reference", "IN", "--out", "IN"),
        ("export-reference", "IN", "--out", "IN"),
        ("fit-prior", "IN", "--out", "IN"),
    ],
)
def test_no_command_writes_over_what_it_reads(tmp_path, tokenizer_file, arguments):
    file = tmp_path / "in.h5"
    file.write_bytes(tokenizer_file.read_bytes())
    given = [{"IN": str(file), "run": str(tmp_path / "run")}.get(word, word) for word in arguments]
    done = CliRunner().invoke(main, given)
    assert done.exit_code == 2 and "would be written over" in done.stderr, done.output
    assert file.read_bytes() == tokenizer_file.read_bytes()
