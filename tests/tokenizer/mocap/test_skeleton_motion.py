"""Skeletons of other people: their names are found, their rest poses become SMPL's T-pose or are refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tokenizer.body.skeleton import BODY_JOINT_NAMES, body_index
from tokenizer.engine.errors import UserError
from tokenizer.mocap.asf_amc import read_amc
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
        mapping = find_map(names, tmp_path)
        assert (mapping.style, mapping.joints, mapping.absent) == (style, joint_map, ()), style
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
