"""ASF/AMC: by hand, and what is broken says where."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tokenizer.body.skeleton import body_index
from tokenizer.engine.errors import UserError
from tokenizer.mocap.asf_amc import AMC_FPS, read_amc


def degrees(body: np.ndarray) -> np.ndarray:
    return np.degrees(np.linalg.norm(body, axis=-1))


ASF = """# small
:version 1.10
:units
  mass 1.0
  length 0.45
  angle deg
:root
   order TX TY TZ RX RY RZ
   axis XYZ
   position 0 0 0
   orientation 0 0 0
:bonedata
{bones}
:hierarchy
  begin
{hierarchy}
  end
"""


TRUNK_BONES = ("lowerback", "upperback", "thorax", "lowerneck", "upperneck", "head")


def write_asf(folder: Path, frames: list[dict[str, str]], name: str = "07_01.amc") -> Path:
    """CMU's bones: legs spread by 20° at rest, knees that bend about the axis of the spread leg."""
    bones, hierarchy = [], []

    def add(name: str, parent: str, direction: str, axis: str, dof: str, length: float = 7.0) -> None:
        bones.append(f"begin\n id 1\n name {name}\n direction {direction}\n length {length}\n axis {axis} XYZ")
        bones.append(f" dof {dof}\n limits (-1 1)\n  (-1 1)\nend" if dof else "end")
        hierarchy.append(f"    {parent} {name}")

    for lower, upper in pairwise(("root", *TRUNK_BONES)):
        add(upper, lower, "0 1 0", "0 0 0", "rx ry rz", 2.0)
    for side, sign in (("l", 1), ("r", -1)):
        spread, out = f"{sign * np.sin(np.radians(20))} {-np.cos(np.radians(20))} 0", f"{sign} 0 0"
        add(f"{side}hipjoint", "root", f"{sign * 0.65} -0.7 0.3", "0 0 0", "", 2.5)
        add(f"{side}femur", f"{side}hipjoint", spread, f"0 0 {20 * sign}", "rx ry rz")
        add(f"{side}tibia", f"{side}femur", spread, f"0 0 {20 * sign}", "rx")
        add(f"{side}foot", f"{side}tibia", "0 -0.3 0.95", f"-90 0 {20 * sign}", "rx rz", 2.0)
        add(f"{side}toes", f"{side}foot", "0 0 1", f"-90 0 {20 * sign}", "rx", 1.0)
        add(f"{side}clavicle", "thorax", f"{sign * 0.97} 0.24 0", "0 0 0", "ry rz", 3.6)
        add(f"{side}humerus", f"{side}clavicle", out, f"180 {-30 * sign} {-90 * sign}", "rx ry rz", 4.9)
        add(f"{side}radius", f"{side}humerus", out, f"180 {-30 * sign} {-90 * sign}", "rx", 3.4)
        add(f"{side}wrist", f"{side}radius", out, f"0 {90 * sign} {90 * sign}", "ry", 1.7)
    (folder / "07.asf").write_text(ASF.format(bones="\n".join(bones), hierarchy="\n".join(hierarchy)))
    counts = {
        words.split()[0]: words
        for words in (
            line
            for line in (
                "lfemur 0 0 0",
                "rfemur 0 0 0",
                "ltibia 0",
                "rtibia 0",
                "lfoot 0 0",
                "rfoot 0 0",
                "ltoes 0",
                "rtoes 0",
                "lclavicle 0 0",
                "rclavicle 0 0",
                "lhumerus 0 0 0",
                "rhumerus 0 0 0",
                "lradius 0",
                "rradius 0",
                "lwrist 0",
                "rwrist 0",
                *(f"{bone} 0 0 0" for bone in TRUNK_BONES),
            )
        )
    }
    lines = ["#!OML:ASF x.ASF", ":FULLY-SPECIFIED", ":DEGREES"]
    for number, frame in enumerate(frames, 1):
        rows = {"root": "root 9 17 -34 0 0 0", **counts, **frame}
        lines += [str(number), *rows.values()]
    (folder / name).write_text("\n".join(lines) + "\n")
    return folder / name


def test_asf_amc_by_hand(tmp_path):
    closed = {"lfemur": "lfemur 0 0 -20", "rfemur": "rfemur 0 0 20", "lfoot": "lfoot 0 0", "rfoot": "rfoot 0 0"}
    bent = {"ltibia": "ltibia 50", "lowerneck": "lowerneck 10 0 0", "upperneck": "upperneck 5 0 0"}
    frames = [closed, {**closed, **bent}]
    clip = read_amc(write_asf(tmp_path, frames))
    legs = [body_index(f"{side}_{joint}") for side in ("left", "right") for joint in ("hip", "knee")]
    assert degrees(clip.pose_body)[0, legs].max() < 1e-4, "closed legs are SMPL's zero"
    np.testing.assert_allclose(clip.pose_body[1, body_index("left_knee")], np.radians([50, 0, 0]), atol=1e-5)
    np.testing.assert_allclose(clip.pose_body[1, body_index("neck")], np.radians([15, 0, 0]), atol=1e-5)
    np.testing.assert_allclose(clip.root[0], np.radians([90, 0, 0]), atol=1e-5)
    np.testing.assert_allclose(clip.translation[0], np.array([9, 34, 17]) * 0.0254 / 0.45, rtol=1e-5)
    assert (clip.fps, clip.up) == (AMC_FPS, "z") and "120 assumed" in clip.notes[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("ltibia 0", "ltibia 0 1"), r"07_01.amc line \d+ does not fit 07.asf; got ltibia 0"),
        (lambda text: text.replace("ltibia 0", "ltail 0"), "got ltail 0; expected a bone of 07.asf"),
        (lambda text: text.replace("ltibia 0", "ltibia x"), "not a number"),
        (lambda text: text.replace("ltibia 0", "ltibia nan"), "not finite; got in ltibia"),
        (lambda text: text.replace("2\nroot 9 17 -34 0 0 0\n", "2\n"), "incomplete; got no root in frame 2"),
        (lambda text: text.split("1\nroot")[0], "holds no frames"),
        (lambda text: "root 1 2 3 4 5 6\n", "expected a frame number"),
    ],
)
def test_broken_motion_says_where(tmp_path, change, message):
    path = write_asf(tmp_path, [{}, {}])
    path.write_text(change(path.read_text()))
    with pytest.raises(UserError, match=message):
        read_amc(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: "", "no ASF skeleton"),
        (lambda text: text.replace("axis 0 0 20 XYZ", "axis 0 0 20 XYY"), "XYY; expected an order"),
        (lambda text: text.replace("direction 1 0 0", "direction 1 0"), "1 0; expected 3 numbers"),
        (lambda text: text.replace("dof rx ry rz", "dof rx ry rw"), "rw; expected some of"),
        (lambda text: text.replace("    lfemur ltibia", "    ltail ltibia"), "ltail ltibia; expected bones"),
        (lambda text: text.replace(" length 7.0\n", "", 1), "incomplete; got no length"),
    ],
)
def test_broken_skeletons_say_where(tmp_path, change, message):
    path = write_asf(tmp_path, [{}])
    (tmp_path / "07.asf").write_text(change((tmp_path / "07.asf").read_text()))
    with pytest.raises(UserError, match=message):
        read_amc(path)


def test_the_skeleton_is_looked_for_by_name(tmp_path):
    path = write_asf(tmp_path, [{}])
    (tmp_path / "07.asf").rename(tmp_path / "other.ASF")
    assert len(read_amc(path).pose_body) == 1, "the only one"
    (tmp_path / "08.asf").write_text("")
    with pytest.raises(UserError, match=r"needs its skeleton; got 2 .asf files.*07.asf or 07_01.asf"):
        read_amc(path)
