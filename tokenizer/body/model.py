"""One ``Body`` for the open body and for SMPL, SMPL-H and SMPL-X files: joints, vertices, keypoints from rotations."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..engine.errors import fail
from .keypoints import SMPL_JOINTS_AS_KEYPOINTS, detector_points, keypoint_matrix
from .open_body import GARMENTS, NUM_BETAS, open_body_arrays
from .skeleton import JOINT_NAMES, NUM_BODY_JOINTS, NUM_JOINTS, PARENTS
from .skinning import KinematicTree, skin
from .smpl_files import find_model_file, landmark_vertices, read_extra_regressor, read_model_file
from .vertex_sets import moving_joints, vertex_regions, well_spread_vertices

_HANDS = {"smpl": (22, 23), "open": (22, 23), "smplh": (25, 40), "smplx": (28, 43)}
"""The model's joint that stands for each SMPL hand: the middle finger's first, where there are fingers."""


@dataclass
class BodyArrays:
    """What a ``Body`` is made of; see ``Body`` for shapes.

    Joints at rest are linear in the betas: ``joint_template`` (J,3) and ``joint_shapedirs`` (J,3,B). ``posedirs``
    (V,3,9·(J−1)) is None where a body has none; ``eyes`` (V,) bool where the mesh has eyes of their own.
    """

    v_template: np.ndarray
    shapedirs: np.ndarray
    weights: np.ndarray
    J_regressor: np.ndarray
    joint_template: np.ndarray
    joint_shapedirs: np.ndarray
    faces: np.ndarray
    parents: tuple[int, ...]
    landmarks: dict[str, int]
    posedirs: np.ndarray | None = None
    eyes: np.ndarray | None = None
    keypoint_rules: dict[str, dict[str, float]] = field(default_factory=dict)
    extra_regressor: np.ndarray | None = None


class Body(nn.Module):
    """A skinned body: rotations in, points out, in metres, y-up in rest, facing +z.

    ``kind`` is ``open``, ``smpl``, ``smplh`` or ``smplx``; ``joint_names`` are the 24 that ``joints`` gives;
    ``parents`` belong to the model's own joints, fingers included. Buffers: ``v_template`` (V,3), ``shapedirs``
    (V,3,B), ``weights`` (V,J), ``faces`` (F,3) int64, ``vertex_part`` (V,) int64 (the one of the 24 joints that moves a
    vertex most), ``vertex_region`` (V,) int64 into ``regions.REGION_NAMES``. None of them enters a ``state_dict``:
    checkpoints hold no body, least of all a licensed one.

    Every method takes ``pose_body`` (...,P,3,3), rotations of joints 1…P in file order (21 for a body pose; missing
    ones rest; two more, SMPL's hands, are left out on bodies with fingers), and broadcasts ``root`` (...,3,3),
    ``betas`` (...,num_betas) and ``translation`` (...,3) against it; all three default to nothing. As in SMPL the root
    turns about the pelvis, whose rest position is not the origin. Joints, keypoints and vertex subsets never pay for
    the full mesh. All is computed in float32 (float64 where ``pose_body`` is), under autocast too.
    """

    v_template: Tensor
    shapedirs: Tensor
    weights: Tensor
    J_regressor: Tensor
    joint_template: Tensor
    joint_shapedirs: Tensor
    posedirs: Tensor | None
    faces: Tensor
    vertex_part: Tensor
    vertex_region: Tensor
    smpl_joints: Tensor
    keypoint_matrix: Tensor
    keypoint_vertices: Tensor
    detector_matrix: Tensor
    detector_vertices: Tensor

    def __init__(self, kind: str, arrays: BodyArrays, *, gender: str = "neutral") -> None:
        super().__init__()
        self.kind, self.gender = kind, gender
        self.joint_names, self.parents = JOINT_NAMES, arrays.parents
        self.num_betas = arrays.shapedirs.shape[-1]
        self.tree = KinematicTree(arrays.parents)
        matrix, keypoint_vertices = _keypoints_of(arrays)
        moving = moving_joints(arrays.weights, arrays.parents)
        smpl_joints = np.array([*range(NUM_BODY_JOINTS + 1), *_HANDS[kind]])
        detector_matrix, detector_vertices = detector_points(
            arrays.v_template, arrays.joint_template[smpl_joints], arrays.landmarks
        )
        buffers = {
            name: getattr(arrays, name).astype(np.float32)
            for name in (
                "v_template",
                "shapedirs",
                "weights",
                "J_regressor",
                "joint_template",
                "joint_shapedirs",
            )
        } | {
            "faces": arrays.faces.astype(np.int64),
            "vertex_part": moving,
            "vertex_region": vertex_regions(moving, arrays.v_template, arrays.landmarks, arrays.eyes),
            "smpl_joints": smpl_joints,
            "keypoint_matrix": matrix,
            "keypoint_vertices": keypoint_vertices,
            "detector_matrix": detector_matrix,
            "detector_vertices": detector_vertices,
        }
        for name, values in buffers.items():
            self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(values)), persistent=False)
        posedirs = None if arrays.posedirs is None else torch.from_numpy(arrays.posedirs.astype(np.float32))
        self.register_buffer("posedirs", posedirs, persistent=False)
        self._subsets: dict[int, Tensor] = {}

    def joints(
        self,
        pose_body: Tensor,
        *,
        root: Tensor | None = None,
        betas: Tensor | None = None,
        translation: Tensor | None = None,
    ) -> Tensor:
        """→ the 24 SMPL joints (...,24,3), in the order of ``skeleton.JOINT_NAMES``."""
        with torch.autocast(pose_body.device.type, enabled=False):
            kinematics = self._pose(pose_body, root, betas, translation)
            return kinematics.shaped(kinematics.positions.index_select(1, self.smpl_joints))

    def rest_pelvis(self, betas: Tensor) -> Tensor:
        """betas (...,num_betas) → the pelvis (...,3) m in any pose without a translation: the root turns about it."""
        rest = self.joint_template + _offsets(self.joint_shapedirs, betas.reshape(-1, self.num_betas))
        return rest[:, 0].reshape(*betas.shape[:-1], 3)

    def vertices(
        self,
        pose_body: Tensor,
        *,
        root: Tensor | None = None,
        betas: Tensor | None = None,
        translation: Tensor | None = None,
        subset: Tensor | None = None,
    ) -> Tensor:
        """→ vertices (...,V,3), or those of ``subset`` (S,) int64 → (...,S,3)."""
        with torch.autocast(pose_body.device.type, enabled=False):
            kinematics = self._pose(pose_body, root, betas, translation)
            if subset is None and self.posedirs is not None:
                return kinematics.shaped(self._smplx_mesh(kinematics))
            return kinematics.shaped(self._skin(kinematics, subset))

    def keypoints(
        self,
        pose_body: Tensor,
        *,
        root: Tensor | None = None,
        betas: Tensor | None = None,
        translation: Tensor | None = None,
    ) -> Tensor:
        """→ the 44 keypoints (...,44,3), in the order of ``skeleton.KEYPOINT_NAMES``."""
        with torch.autocast(pose_body.device.type, enabled=False):
            kinematics = self._pose(pose_body, root, betas, translation)
            joints = kinematics.positions.index_select(1, self.smpl_joints)
            points = torch.cat([joints, self._skin(kinematics, self.keypoint_vertices)], 1)
            return kinematics.shaped(self.keypoint_matrix.to(points.dtype) @ points)

    def detector_points(
        self,
        pose_body: Tensor,
        *,
        root: Tensor | None = None,
        betas: Tensor | None = None,
        translation: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """→ the 24 SMPL joints (...,24,3), and in the same pass the 25 points (...,25,3) that detectors of people find,
        in the order of ``keypoints.DETECTOR_POINTS``."""
        with torch.autocast(pose_body.device.type, enabled=False):
            posed = self._pose(pose_body, root, betas, translation)
            joints = posed.positions.index_select(1, self.smpl_joints)
            points = torch.cat([joints, self._skin(posed, self.detector_vertices)], 1)
            return posed.shaped(joints), posed.shaped(self.detector_matrix.to(points.dtype) @ points)

    def subset(self, count: int) -> Tensor:
        """(count,) int64, sorted: always the same well-spread vertices, left and right alike.

        Raise ``UserError`` for a count below 1 or above the number of vertices.
        """
        if count not in self._subsets:
            if not 0 < count <= len(self.v_template):
                raise fail("A vertex subset has an impossible size", got=count, expected=f"1 to {len(self.v_template)}")
            self._subsets[count] = torch.from_numpy(well_spread_vertices(self.v_template.cpu().numpy(), count))
        return self._subsets[count].to(self.v_template.device)

    def _pose(
        self, pose_body: Tensor, root: Tensor | None, betas: Tensor | None, translation: Tensor | None
    ) -> _Kinematics:
        shape = tuple(pose_body.shape)
        if len(shape) < 3 or shape[-2:] != (3, 3) or not NUM_BODY_JOINTS <= shape[-3] < len(self.parents):
            expected = f"(..., {NUM_BODY_JOINTS} to {len(self.parents) - 1}, 3, 3) rotation matrices"
            raise fail("A body pose has the wrong shape", got=shape, expected=expected)
        if betas is not None and betas.shape[-1] != self.num_betas:
            raise fail("betas have the wrong shape", got=tuple(betas.shape), expected=f"(..., {self.num_betas})")
        batch_shapes = [t.shape[:-d] for t, d in ((root, 2), (betas, 1), (translation, 1)) if t is not None]
        lead = torch.Size(np.broadcast_shapes(shape[:-3], *batch_shapes))  # torch's own imports computer algebra
        count, joints = lead.numel(), len(self.parents)
        dtype = torch.promote_types(pose_body.dtype, torch.float32)

        def flat(values: Tensor, *last: int) -> Tensor:
            return values.to(dtype).expand(*lead, *last).reshape(count, *last)

        # SMPL's two hand rotations have no joint of their own on bodies with fingers.
        given_joints = NUM_BODY_JOINTS if joints > NUM_JOINTS and shape[-3] == NUM_JOINTS - 1 else shape[-3]
        eye = torch.eye(3, dtype=dtype, device=pose_body.device)
        first = flat(eye if root is None else root, 3, 3)[:, None]
        local = flat(pose_body[..., :given_joints, :, :], given_joints, 3, 3)
        rotations = torch.cat([first, local, eye.expand(count, joints - 1 - given_joints, 3, 3)], 1)
        coefficients = None if betas is None else flat(betas, self.num_betas)
        rest = self.joint_template.to(dtype)[None]
        if coefficients is not None:
            rest = rest + _offsets(self.joint_shapedirs, coefficients)
        world, positions = self.tree(rotations, rest)
        if translation is not None:
            positions = positions + flat(translation, 3)[:, None]
        return _Kinematics(lead, rotations, coefficients, rest, world, positions)

    def _skin(self, kinematics: _Kinematics, subset: Tensor | None) -> Tensor:
        chosen = slice(None) if subset is None else subset
        dtype = kinematics.world.dtype
        vertices = self.v_template[chosen].to(dtype)[None]
        if kinematics.betas is not None:
            vertices = vertices + _offsets(self.shapedirs[chosen], kinematics.betas)
        if self.posedirs is not None:
            bends = kinematics.rotations[:, 1:] - torch.eye(3, dtype=dtype, device=vertices.device)
            vertices = vertices + _offsets(self.posedirs[chosen], bends.flatten(1))
        return skin(vertices, self.weights[chosen].to(dtype), kinematics.rest, kinematics.world, kinematics.positions)

    def _smplx_mesh(self, kinematics: _Kinematics) -> Tensor:
        """Full mesh of a licensed body, by the library its makers publish."""
        from smplx.lbs import lbs

        dtype = kinematics.world.dtype
        betas = (
            kinematics.world.new_zeros(len(kinematics.world), self.num_betas)
            if kinematics.betas is None
            else kinematics.betas
        )
        posedirs = torch.zeros(0) if self.posedirs is None else self.posedirs.flatten(0, 1).T
        parents = torch.tensor(self.parents)  # on the CPU: the library reads them one by one
        arrays = (self.v_template, self.shapedirs, posedirs, self.J_regressor)
        vertices, joints = lbs(
            betas,
            kinematics.rotations,
            *(array.to(dtype) for array in arrays),
            parents,
            self.weights.to(dtype),
            pose2rot=False,
        )
        aligned: Tensor = vertices + (kinematics.positions[:, :1] - joints[:, :1])
        return aligned


@dataclass
class _Kinematics:
    """A batch of poses: leading shape, local rotations, betas, rest joints, world rotations, positions."""

    lead: torch.Size
    rotations: Tensor
    betas: Tensor | None
    rest: Tensor
    world: Tensor
    positions: Tensor

    def shaped(self, points: Tensor) -> Tensor:
        """Points (B,N,3) with the leading shape of the call."""
        return points.reshape(*self.lead, *points.shape[1:])


def _offsets(directions: Tensor, coefficients: Tensor) -> Tensor:
    """Directions (N,3,K), coefficients (B,K) → offsets (B,N,3)."""
    return (coefficients @ directions.to(coefficients.dtype).flatten(0, 1).T).unflatten(-1, (-1, 3))


def _keypoints_of(arrays: BodyArrays) -> tuple[np.ndarray, np.ndarray]:
    """Matrix (44, 24 + S) and the S vertices it acts on after the joints: landmarks, then those of the regressor."""
    matrix = keypoint_matrix(list(arrays.landmarks), arrays.keypoint_rules)
    vertices = np.array(list(arrays.landmarks.values()), dtype=np.int64)
    if arrays.extra_regressor is None:
        return matrix, vertices
    used = np.flatnonzero(arrays.extra_regressor.any(0))
    first = len(matrix) - len(arrays.extra_regressor)
    wider = np.pad(matrix, ((0, 0), (0, len(used))))
    wider[first:] = 0
    wider[first:, matrix.shape[1] :] = arrays.extra_regressor[:, used]
    return wider, np.concatenate([vertices, used])


def load_body(
    source: str | Path = "open",
    *,
    gender: str = "neutral",
    num_betas: int = NUM_BETAS,
    extra_regressor: str | Path | None = None,
) -> Body:
    """The open body (``"open"``), or a SMPL-family file, or the one for ``gender`` in a directory of them.

    ``extra_regressor``: npz or pickle with one (19,V) array that regresses keypoints 25-43 from SMPL vertices; without
    it they follow the rule of the open body, which has none. Raise ``UserError`` for files that are missing, damaged
    or misshapen, and for more betas than there are.
    """
    if str(source) == "open":
        if not 0 < num_betas <= NUM_BETAS:
            raise fail("The open body has no such number of betas", got=num_betas, expected=f"1 to {NUM_BETAS}")
        if extra_regressor is not None:
            raise fail("An extra joint regressor is for SMPL-family files", got=f"{extra_regressor} for the open body")
        return Body("open", _open_arrays(open_body_arrays(), "", num_betas))
    path, gender = find_model_file(source, gender)
    kind, raw = read_model_file(path, num_betas)
    parents = tuple(int(parent) for parent in raw.pop("parents"))
    extra = None if extra_regressor is None else read_extra_regressor(extra_regressor, len(raw["v_template"]))
    return Body(
        kind,
        BodyArrays(
            **raw,
            **_joints_of(raw),
            parents=parents,
            landmarks=landmark_vertices(kind, raw["v_template"]),
            keypoint_rules=SMPL_JOINTS_AS_KEYPOINTS,
            extra_regressor=extra,
        ),
        gender=gender,
    )


def load_garments() -> dict[str, Body]:
    """Bodysuit, skirt and hair of the open body by name, each a ``Body`` that takes the same poses and betas.

    Their ``joints`` are those of the body; their keypoints mean nothing.
    """
    arrays = open_body_arrays()
    return {name: Body("open", _open_arrays(arrays, f"{name}/", NUM_BETAS)) for name in GARMENTS}


def _open_arrays(arrays: dict[str, np.ndarray], prefix: str, num_betas: int) -> BodyArrays:
    """Of the body (no prefix) or of a garment, which has the body's joints and no landmarks of its own."""
    own = {key: arrays[prefix + key] for key in ("v_template", "weights", "faces")}
    joints = _joints_of(arrays)
    joints["joint_shapedirs"] = joints["joint_shapedirs"][..., :num_betas]
    landmarks = dict(zip(arrays["landmark_names"].tolist(), arrays["landmark_vertices"].tolist(), strict=True))
    regressor = np.zeros((NUM_JOINTS, len(own["v_template"]))) if prefix else arrays["J_regressor"]
    return BodyArrays(
        **own,
        **joints,
        shapedirs=arrays[f"{prefix}shapedirs"][..., :num_betas],
        J_regressor=regressor,
        parents=PARENTS,
        landmarks=dict.fromkeys(landmarks, 0) if prefix else landmarks,
        eyes=None if prefix else arrays["eyes"],
        keypoint_rules={},
    )


def _joints_of(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    regressor = arrays["J_regressor"].astype(np.float64)
    return {
        "joint_template": regressor @ arrays["v_template"].astype(np.float64),
        "joint_shapedirs": np.einsum("jv,vcb->jcb", regressor, arrays["shapedirs"].astype(np.float64)),
    }
