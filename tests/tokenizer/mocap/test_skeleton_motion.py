"""Skeletons of other people: their names are found, their rest poses become SMPL's T-pose or are refused by name."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tokenizer.body.skeleton import BODY_JOINT_NAMES, body_index
from tokenizer.engine.errors import UserError
from tokenizer.mocap.asf_amc import AMC_FPS, read_amc
from tokenizer.mocap.bvh import read_bvh
from tokenizer.mocap.joint_maps import CMU_DAZ, CMU_MOTIONBUILDER, MAPS, find_map, propose

SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "mocap"

# Joint, parent, offset in cm: a T-pose that faces +z.
TRUNK = [
    ("Hips", None, (0, 0, 0)),
    ("Spine", "Hips", (0, 10, 0)),
    ("Spine1", "Spine", (0, 12, 0)),
    ("Spine2", "Spine1", (0, 12, 0)),
    ("Neck", "Spine2", (0, 20, 0)),
    ("Head", "Neck", (0, 10, 0)),
]


def humanoid(arm_deg: float = 0.0, leg_deg: float = 0.0) -> list[tuple[str, str | None, tuple[float, float, float]]]:
    """LaFAN1's joints; arms lowered and legs spread by so much in the rest pose."""
    joints = list(TRUNK)
    for side, sign in (("Left", 1), ("Right", -1)):
        arm = sign * np.cos(np.radians(arm_deg)), -np.sin(np.radians(arm_deg))
        leg = sign * np.sin(np.radians(leg_deg)), -np.cos(np.radians(leg_deg))
        joints += [
            (f"{side}Shoulder", "Spine2", (sign * 4.0, 15, 0)),  # type: ignore[list-item]
            (f"{side}Arm", f"{side}Shoulder", (sign * 14.0, 0, 0)),  # type: ignore[list-item]
            (f"{side}ForeArm", f"{side}Arm", (28 * arm[0], 28 * arm[1], 0)),
            (f"{side}Hand", f"{side}ForeArm", (25 * arm[0], 25 * arm[1], 0)),
            (f"{side}UpLeg", "Hips", (sign * 9.0, -4, 0)),  # type: ignore[list-item]
            (f"{side}Leg", f"{side}UpLeg", (43 * leg[0], 43 * leg[1], 0)),
            (f"{side}Foot", f"{side}Leg", (41 * leg[0], 41 * leg[1], 0)),
            (f"{side}Toe", f"{side}Foot", (0, -5.0, 13)),  # type: ignore[list-item]
        ]
    return joints  # type: ignore[return-value]


def write_bvh(path, joints, turns=({},), *, rename=str, brace="\n{", order="ZXY", fps=30):
    """``turns``: a frame each, joint → local rotation; others are zero. Every joint has position channels, too."""
    lines, written = ["HIERARCHY"], []

    def add(name: str, parent: str | None, offset) -> None:
        written.append((name, offset))
        names = " ".join(f"{axis}rotation" for axis in order)
        lines.append(f"{'JOINT' if parent else 'ROOT'} {rename(name)}{brace}")
        lines.append("OFFSET {} {} {}".format(*offset))
        lines.append(f"CHANNELS 6 Xposition Yposition Zposition {names}")
        children = [one for one in joints if one[1] == name]
        for child in children:
            add(*child)
        if not children:
            lines.append(f"End Site{brace}\nOFFSET 0 3 0\n}}")
        lines.append("}")

    add(*joints[0])
    lines += ["MOTION", f"Frames: {len(turns)}", f"Frame Time: {1 / fps:.7f}"]
    for frame in turns:
        numbers: list[float] = []
        for name, offset in written:
            place = (0, 95, 0) if name == "Hips" else offset
            turned = frame.get(name, Rotation.identity()).as_euler(order, degrees=True)
            numbers += [*place, *turned]
        lines.append(" ".join(f"{number:.5f}" for number in numbers))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def degrees(body: np.ndarray) -> np.ndarray:
    return np.degrees(np.linalg.norm(body, axis=-1))


Z = {angle: Rotation.from_euler("z", angle, degrees=True) for angle in (20, -20, 30, 45, -45, 90, -90, 180)}


@pytest.mark.parametrize("brace", ["\n{", " {", "\t{"])
@pytest.mark.parametrize("prefix", ["", "mixamorig:", "mixamorig1:", "mixamorig", "Character1_"])
def test_names_with_any_prefix_and_braces_on_any_line(tmp_path, brace, prefix):
    if prefix in ("Character1_", "mixamorig") and brace != " {":
        pytest.skip("once is enough")
    knee = Rotation.from_euler("x", 40, degrees=True)
    path = write_bvh(tmp_path / "a.bvh", humanoid(), [{"LeftLeg": knee}] * 2, rename=lambda n: prefix + n, brace=brace)
    clip = read_bvh(path)
    assert np.allclose(degrees(clip.pose_body)[0], 40 * (np.arange(21) == body_index("left_knee")), atol=1e-3)
    np.testing.assert_allclose(clip.translation[0], [0, 0.95, 0], atol=1e-6)  # cm, told by the legs
    assert (clip.up, clip.notes) == ("y", ())


@pytest.mark.parametrize(("arm", "leg"), [(0, 20), (45, 0), (45, 15), (90, 0), (30, 5)])
def test_a_standing_t_pose_is_all_zero_whatever_the_rest_pose(tmp_path, arm, leg):
    raised, closed = (Rotation.from_euler("z", angle, degrees=True) for angle in (arm, -leg))
    pose = {"LeftArm": raised, "RightArm": raised.inv(), "LeftUpLeg": closed, "RightUpLeg": closed.inv()}
    pose |= {"LeftFoot": closed.inv(), "RightFoot": closed}  # they point straight ahead in the rest pose
    elbow = Rotation.from_euler("y", -30, degrees=True)
    in_rest = raised.inv() * elbow * raised
    clip = read_bvh(write_bvh(tmp_path / "a.bvh", humanoid(arm, leg), [pose, pose, {**pose, "LeftForeArm": in_rest}]))
    assert degrees(clip.pose_body[:2]).max() < 1e-3
    np.testing.assert_allclose(clip.pose_body[2, body_index("left_elbow")], elbow.as_rotvec(), atol=1e-5)


@pytest.mark.parametrize("toes", [True, False])
def test_feet_that_lean_with_spread_legs_lean_with_them(tmp_path, toes):
    joints = []
    for name, parent, offset in humanoid(leg_deg=20):
        turn = Z[20 if "Left" in name else -20]
        joints.append((name, parent, tuple(turn.apply(offset)) if name.endswith("Toe") else offset))
    joints = [one for one in joints if toes or not one[0].endswith("Toe")]
    clip = read_bvh(write_bvh(tmp_path / "a.bvh", joints, [{"LeftUpLeg": Z[-20], "RightUpLeg": Z[20]}] * 2))
    assert degrees(clip.pose_body).max() < 1e-3


def along_x() -> tuple[list, dict[str, Rotation]]:
    """LaFAN1's way: every bone lies along its own +x, so that all rotations 0 is no pose of a body; and a T-pose."""
    joints = humanoid()
    frames = {}
    for name, *_ in joints:
        side = 180 if name.startswith("Right") else 0
        leg = any(part in name for part in ("UpLeg", "Leg", "Foot", "Toe"))
        arm = any(part in name for part in ("Shoulder", "Arm", "Hand"))
        twist = Rotation.from_euler("x", 90 if leg else 40 if arm else 0, degrees=True)
        frames[name] = Rotation.from_euler("z", -90 if leg else side if arm else 90, degrees=True) * twist
    written = [
        (name, parent, tuple(frames[parent].inv().apply(offset)) if parent else offset)
        for name, parent, offset in joints
    ]
    t_pose = {name: frames[parent].inv() * frames[name] if parent else frames[name] for name, parent, _ in joints}
    return written, t_pose


def test_bones_along_x_are_told_by_a_first_frame_in_a_t_pose(tmp_path):
    joints, t_pose = along_x()
    facing = Rotation.from_euler("y", 70, degrees=True)
    t_pose["Hips"] = facing * t_pose["Hips"]
    bent = {**t_pose, "LeftLeg": t_pose["LeftLeg"] * Rotation.from_euler("y", -25, degrees=True)}
    clip = read_bvh(write_bvh(tmp_path / "a.bvh", joints, [t_pose, t_pose, bent], order="ZYX"))
    assert degrees(clip.pose_body[:2]).max() < 0.01
    np.testing.assert_allclose(clip.root[0], facing.as_rotvec(), atol=1e-4)
    knee = degrees(clip.pose_body[2])
    assert knee[body_index("left_knee")] == pytest.approx(25, abs=0.01)
    assert np.delete(knee, body_index("left_knee")).max() < 0.01


def test_bones_along_x_without_one_are_refused_by_the_name_of_the_fault(tmp_path):
    joints, t_pose = along_x()
    for number, side in enumerate(("Left", "Right")):
        t_pose[f"{side}Arm"] = t_pose[f"{side}Arm"] * Rotation.from_euler("z", 80 + number, degrees=True)
    with pytest.raises(UserError, match=r"rest pose that is no T-pose.*left_hip to left_knee is 180°.*first frame"):
        read_bvh(write_bvh(tmp_path / "a.bvh", joints, [t_pose] * 3, order="ZYX"))


def test_joints_between_mapped_ones_pass_their_rotations_down(tmp_path):
    joints = humanoid()
    where = [name for name, *_ in joints].index("LeftForeArm")
    joints[where : where + 1] = [("Twist", "LeftArm", (14.0, 0, 0)), ("LeftForeArm", "Twist", (14.0, 0, 0))]
    clip = read_bvh(write_bvh(tmp_path / "a.bvh", joints, [{"Twist": Z[30]}] * 2))
    np.testing.assert_allclose(clip.pose_body[0, body_index("left_elbow")], Z[30].as_rotvec(), atol=1e-5)


def test_a_file_that_stands_along_z(tmp_path):
    turn = Rotation.from_euler("x", 90, degrees=True)
    joints = [(name, parent, tuple(turn.apply(offset))) for name, parent, offset in humanoid()]
    knee = Rotation.from_euler("x", 40, degrees=True)
    clip = read_bvh(write_bvh(tmp_path / "a.bvh", joints, [{"LeftLeg": knee}] * 2))
    np.testing.assert_allclose(clip.pose_body[0, body_index("left_knee")], knee.as_rotvec(), atol=1e-5)
    np.testing.assert_allclose(clip.root[0], turn.as_rotvec(), atol=1e-5)
    assert clip.up == "z"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_marks_of_editors(tmp_path, encoding):
    path = write_bvh(tmp_path / "a.bvh", humanoid())
    path.write_text(path.read_text(), encoding=encoding)
    assert len(read_bvh(path).pose_body) == 1


def test_numbers_of_a_frame_may_stand_on_several_lines(tmp_path):
    path = write_bvh(tmp_path / "a.bvh", humanoid(), [{"LeftLeg": Z[30]}] * 3)
    head, _, rows = path.read_text().partition("Frame Time:")
    seconds, _, rows = rows.partition("\n")
    path.write_text(f"{head}Frame Time:{seconds}\n" + "\n".join(rows.split()))
    assert degrees(read_bvh(path).pose_body[2, body_index("left_knee")]) == pytest.approx(30, abs=1e-3)


def test_every_style_is_found_by_its_own_names(tmp_path):
    for style, joint_map in MAPS.items():
        names = [bone for bones in joint_map.values() for bone in bones]
        found = find_map(names, tmp_path)
        assert (found.style, found.joints, found.absent) == (style, joint_map, ()), style
        assert find_map([name.upper() for name in names], tmp_path).style == style
    motion_builder = [bone for bones in CMU_MOTIONBUILDER.values() for bone in bones]
    assert find_map([*motion_builder, "LHipJoint", "LThumb"], tmp_path).style == "CMU (MotionBuilder)"


def test_maps_are_symmetric_and_name_every_body_joint_that_moves():
    assert set(BODY_JOINT_NAMES) - set(CMU_DAZ) == {"spine3", "left_foot", "right_foot"}
    assert CMU_DAZ["left_hip"] == ("lButtock", "lThigh")
    for style, joint_map in MAPS.items():
        assert style == "CMU (DAZ)" or {"pelvis", *BODY_JOINT_NAMES} == {*joint_map}
        for name, bones in joint_map.items():
            if name.startswith("left_"):
                other = tuple(bone.replace("Left", "Right") if "Left" in bone else "r" + bone[1:] for bone in bones)
                assert joint_map[name.replace("left_", "right_")] == other


def test_a_map_is_proposed_by_likeness():
    guess = propose(["Pelvis", "Spine_01", "L_Thigh", "R_Thigh", "L_Calf", "R_Calf", "upperarm_l", "hand_r", "Thumb"])
    assert guess == {
        "pelvis": "Pelvis",
        "spine1": "Spine_01",
        "left_hip": "L_Thigh",
        "right_hip": "R_Thigh",
        "left_knee": "L_Calf",
        "right_knee": "R_Calf",
        "left_shoulder": "upperarm_l",
        "right_wrist": "hand_r",
    }


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
        (lambda text: text.replace("ltibia 0", "ltibia x"), "no number"),
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


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the shared mocap")
def test_the_real_files_become_what_they_must():
    clip = read_amc(SHARED / "asf_amc" / "02_03.amc")
    with np.load(SHARED / "cmu_amc" / "train" / "cmu_02_03_poses.npz") as file:
        poses, trans = file["poses"][:, :66].reshape(-1, 3), file["trans"]
    ours = np.concatenate([clip.root[:, None], clip.pose_body], 1)[::4].reshape(-1, 3)
    assert np.degrees((Rotation.from_rotvec(poses).inv() * Rotation.from_rotvec(ours)).magnitude()).max() < 0.1
    np.testing.assert_allclose(clip.translation[::4], trans, atol=1e-4)
    for name in ("indian_13", "martial_04"):
        clip = read_bvh(SHARED / "cmu_bvh" / f"{name}.bvh")
        with np.load(next((SHARED / "cmu").glob(f"*/{name}_poses.npz"))) as file:
            expected = file["poses"][:, 3:66].reshape(-1, 21, 3)
        np.testing.assert_allclose(clip.pose_body[1::4][: len(expected)], expected, atol=1e-6)
