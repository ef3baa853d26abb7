"""One ``Body`` for the open body and for SMPL, SMPL-H and SMPL-X files: joints, vertices, keypoints from rotations."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..engine.errors import fail
from .keypoints import SMPL_JOINTS_AS_KEYPOINTS, keypoint_matrix
from .open_body import GARMENTS, open_body_arrays
from .skeleton import NUM_JOINTS, PARENTS
from .skinning import Tree, forward_kinematics, skin
from .smpl_files import find_model_file, read_model_file

_HAND_OF = {"smpl": (22, 23), "open": (22, 23), "smplh": (25, 40), "smplx": (28, 43)}


@dataclass
class BodyArrays:
    """What a ``Body`` is made of; see ``Body`` for shapes. ``posedirs`` (V,3,9·(J−1)) is None where a body has none."""

    v_template: np.ndarray
    shapedirs: np.ndarray
    weights: np.ndarray
    J_regressor: np.ndarray
    faces: np.ndarray
    parents: tuple[int, ...]
    landmarks: dict[str, int]
    posedirs: np.ndarray | None = None
    keypoint_rules: dict[str, dict[str, float]] = field(default_factory=dict)
    extra_regressor: np.ndarray | None = None


class Body(nn.Module):
    """A skinned body: rotations in, points out, in metres, y-up in rest, facing +z.

    ``kind`` is ``open``, ``smpl``, ``smplh`` or ``smplx``. Buffers: ``v_template`` (V,3), ``shapedirs`` (V,3,B),
    ``weights`` (V,J), ``faces`` (F,3) int64, ``vertex_part`` (V,) int64 (the SMPL joint that moves a vertex most).

    Every method takes ``pose_body`` (...,P,3,3), rotations of joints 1…P in file order (21 for a body pose; missing
    ones rest), and broadcasts ``root`` (...,3,3), ``betas`` (...,num_betas) and ``translation`` (...,3) against it; all
    three default to nothing. As in SMPL the root turns about the pelvis, whose rest position is not the origin.
    Joints, keypoints and vertex subsets never pay for the full mesh.
    """

    v_template: Tensor
    shapedirs: Tensor
    weights: Tensor
    faces: Tensor
    vertex_part: Tensor

    def __init__(self, kind: str, arrays: BodyArrays, *, gender: str = "neutral") -> None:
        super().__init__()
        self.kind, self.gender = kind, gender
        self.parents = arrays.parents
        self.num_betas = arrays.shapedirs.shape[-1]
        self.tree = Tree.of(arrays.parents)
        regressor = arrays.J_regressor.astype(np.float64)
        tensors = {
            "v_template": arrays.v_template,
            "shapedirs": arrays.shapedirs,
            "weights": arrays.weights,
            "joint_template": regressor @ arrays.v_template.astype(np.float64),
            "joint_shapedirs": np.einsum("jv,vcb->jcb", regressor, arrays.shapedirs.astype(np.float64)),
            "keypoint_matrix": keypoint_matrix(list(arrays.landmarks), arrays.keypoint_rules),
            "J_regressor": arrays.J_regressor,
        }
        for name, values in tensors.items():
            self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)))
        for name, values in (("posedirs", arrays.posedirs), ("extra_regressor", arrays.extra_regressor)):
            self.register_buffer(name, None if values is None else torch.from_numpy(values.astype(np.float32)))
        self.register_buffer("faces", torch.from_numpy(arrays.faces.astype(np.int64)))
        self.register_buffer("vertex_part", self.weights.argmax(-1))
        self.register_buffer("landmarks", torch.tensor(list(arrays.landmarks.values()), dtype=torch.int64))
        hands = _HAND_OF[kind]
        self.smpl_joints = [*range(22), *hands]
        self._subsets: dict[int, Tensor] = {}

    def joints(
        self, pose_body: Tensor, *, root: Tensor | None = None, betas: Tensor | None = None,
        translation: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """→ the 24 SMPL joints (...,24,3), in the order of ``skeleton.JOINT_NAMES``."""
        posed = self._pose(pose_body, root, betas, translation)
        return posed.positions[:, self.smpl_joints].reshape(*posed.lead, -1, 3)

    def vertices(
        self, pose_body: Tensor, *, root: Tensor | None = None, betas: Tensor | None = None,
        translation: Tensor | None = None, subset: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """→ vertices (...,V,3), or those of ``subset`` (S,) int64 → (...,S,3)."""
        posed = self._pose(pose_body, root, betas, translation)
        if subset is None and self.posedirs is not None:
            return self._smplx_mesh(posed).reshape(*posed.lead, -1, 3)
        return self._skin(posed, subset).reshape(*posed.lead, -1, 3)

    def keypoints(
        self, pose_body: Tensor, *, root: Tensor | None = None, betas: Tensor | None = None,
        translation: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """→ the 44 keypoints (...,44,3), in the order of ``skeleton.KEYPOINT_NAMES``."""
        posed = self._pose(pose_body, root, betas, translation)
        points = torch.cat([posed.positions[:, self.smpl_joints], self._skin(posed, self.landmarks)], 1)
        keypoints = self.keypoint_matrix @ points
        if self.extra_regressor is not None:
            mesh = self._smplx_mesh(posed) if self.posedirs is not None else self._skin(posed, None)
            keypoints = torch.cat([keypoints[:, :25], self.extra_regressor @ mesh], 1)
        return keypoints.reshape(*posed.lead, -1, 3)

    def subset(self, count: int) -> Tensor:
        """(count,) int64: always the same well-spread vertices, by farthest-point sampling of the rest shape."""
        if count not in self._subsets:
            if not 0 < count <= len(self.v_template):
                raise fail("A vertex subset has an impossible size", got=count, expected=f"1 to {len(self.v_template)}")
            points = self.v_template.double().cpu().numpy()
            chosen = [int(points[:, 1].argmax())]
            distance = np.full(len(points), np.inf)
            for _ in range(count - 1):
                distance = np.minimum(distance, ((points - points[chosen[-1]]) ** 2).sum(1))
                chosen.append(int(distance.argmax()))
            self._subsets[count] = torch.tensor(sorted(chosen))
        return self._subsets[count].to(self.v_template.device)

    def _pose(
        self, pose_body: Tensor, root: Tensor | None, betas: Tensor | None, translation: Tensor | None
    ) -> _Posed:
        if pose_body.shape[-2:] != (3, 3) or not 21 <= pose_body.shape[-3] < len(self.parents):
            raise fail("A body pose has the wrong shape", got=tuple(pose_body.shape),
                       expected=f"(..., 21 to {len(self.parents) - 1}, 3, 3) rotation matrices")  # fmt: skip
        if betas is not None and betas.shape[-1] != self.num_betas:
            raise fail("betas have the wrong shape", got=tuple(betas.shape), expected=f"(..., {self.num_betas})")
        others = [t.shape[:-d] for t, d in ((root, 2), (betas, 1), (translation, 1)) if t is not None]
        lead = torch.broadcast_shapes(pose_body.shape[:-3], *others)
        count = lead.numel()
        hands_rest = len(self.parents) > NUM_JOINTS and pose_body.shape[-3] == NUM_JOINTS - 1
        local = pose_body[..., :21, :, :] if hands_rest else pose_body
        eye = torch.eye(3, dtype=local.dtype, device=local.device)
        first = eye if root is None else root
        first = first.expand(*lead, 3, 3).reshape(count, 1, 3, 3)
        local = local.expand(*lead, *local.shape[-3:]).reshape(count, -1, 3, 3)
        resting = eye.expand(count, len(self.parents) - 1 - local.shape[1], 3, 3)
        rotations = torch.cat([first, local, resting], 1)
        shape = None if betas is None else betas.expand(*lead, self.num_betas).reshape(count, self.num_betas)
        rest = self.joint_template.to(local.dtype)[None]
        if shape is not None:
            rest = rest + torch.einsum("jcb,nb->njc", self.joint_shapedirs.to(local.dtype), shape)
        world, positions = forward_kinematics(rotations, rest, self.tree, self.parents)
        if translation is not None:
            positions = positions + translation.expand(*lead, 3).reshape(count, 1, 3)
        return _Posed(lead, rotations, shape, rest, world, positions)

    def _skin(self, posed: _Posed, subset: Tensor | None) -> Tensor:
        chosen = slice(None) if subset is None else subset
        kind = posed.world.dtype
        vertices = self.v_template[chosen].to(kind)[None]
        if posed.betas is not None:
            vertices = vertices + torch.einsum("scb,nb->nsc", self.shapedirs[chosen].to(kind), posed.betas)
        if self.posedirs is not None:
            eye = torch.eye(3, dtype=kind, device=vertices.device)
            features = (posed.rotations[:, 1:] - eye).flatten(1)
            vertices = vertices + torch.einsum("scp,np->nsc", self.posedirs[chosen].to(kind), features)
        return skin(vertices, self.weights[chosen].to(kind), posed.rest, posed.world, posed.positions)

    def _smplx_mesh(self, posed: _Posed) -> Tensor:
        """Full mesh of a licensed body, by the library its makers publish."""
        from smplx.lbs import lbs

        count = len(posed.rotations)
        betas = self.v_template.new_zeros(count, self.num_betas) if posed.betas is None else posed.betas
        parents = torch.tensor(self.parents, device=self.v_template.device)
        posedirs = self.posedirs.flatten(0, 1).T
        vertices, joints = lbs(
            betas, posed.rotations, self.v_template, self.shapedirs, posedirs, self.J_regressor, parents,
            self.weights, pose2rot=False,
        )  # fmt: skip
        moved: Tensor = vertices + (posed.positions[:, :1] - joints[:, :1])
        return moved


@dataclass
class _Posed:
    """One posed batch: leading shape, local rotations, betas, rest joints, world rotations, positions."""

    lead: torch.Size
    rotations: Tensor
    betas: Tensor | None
    rest: Tensor
    world: Tensor
    positions: Tensor


def load_body(
    source: str | Path = "open", *, gender: str = "neutral", num_betas: int = 10,
    extra_regressor: str | Path | None = None,
) -> Body:  # fmt: skip
    """The open body (``"open"``), or a SMPL-family file, or the one for ``gender`` in a directory of them.

    ``extra_regressor``: npz with one (19,V) array that regresses keypoints 25-43 from SMPL vertices; without it they
    follow the rule of the open body. Raises ``UserError`` for files that are missing, damaged or misshapen.
    """
    if str(source) == "open":
        arrays = open_body_arrays()
        names = [str(name) for name in arrays["landmark_names"]]
        landmarks = dict(zip(names, (int(v) for v in arrays["landmark_vertices"]), strict=True))
        if not 0 < num_betas <= arrays["shapedirs"].shape[-1]:
            raise fail("The open body has no such number of betas", got=num_betas, expected="1 to 10")
        return Body("open", BodyArrays(
            arrays["v_template"], arrays["shapedirs"][..., :num_betas], arrays["weights"], arrays["J_regressor"],
            arrays["faces"], PARENTS, landmarks,
        ))  # fmt: skip
    kind, raw = read_model_file(find_model_file(source, gender), num_betas)
    landmarks = _smpl_landmarks(kind, raw["v_template"])
    return Body(kind, BodyArrays(
        raw["v_template"], raw["shapedirs"], raw["weights"], raw["J_regressor"], raw["faces"],
        tuple(int(parent) for parent in raw["parents"]), landmarks, posedirs=raw["posedirs"],
        keypoint_rules=SMPL_JOINTS_AS_KEYPOINTS, extra_regressor=_read_extra(extra_regressor, len(raw["v_template"])),
    ), gender=gender)  # fmt: skip


def load_garments() -> dict[str, Body]:
    """Bodysuit, skirt and hair of the open body by name, each a ``Body`` that takes the same poses and betas."""
    arrays = open_body_arrays()
    body = load_body("open")
    garments = {}
    for name in GARMENTS:
        own = {key: arrays[f"{name}/{key}"] for key in ("v_template", "shapedirs", "weights", "faces")}
        empty = np.zeros((NUM_JOINTS, len(own["v_template"])), dtype=np.float32)
        nowhere = dict.fromkeys(arrays["landmark_names"].tolist(), 0)
        garment = Body("open", BodyArrays(**own, J_regressor=empty, parents=PARENTS, landmarks=nowhere))
        garment.joint_template.copy_(body.joint_template)
        garment.joint_shapedirs.copy_(body.joint_shapedirs)
        garments[name] = garment
    return garments


def _smpl_landmarks(kind: str, template: np.ndarray) -> dict[str, int]:
    """Landmark vertices of SMPL-family meshes: those ``smplx`` names; crown and chin are extreme vertices."""
    from smplx.vertex_ids import vertex_ids

    names = {"nose": "nose", "left_eye": "leye", "right_eye": "reye", "left_ear": "lear", "right_ear": "rear",
             "left_big_toe": "LBigToe", "left_small_toe": "LSmallToe", "left_heel": "LHeel",
             "right_big_toe": "RBigToe", "right_small_toe": "RSmallToe", "right_heel": "RHeel"}  # fmt: skip
    table = vertex_ids["smplx" if kind == "smplx" else "smplh"]
    landmarks = {name: int(table[key]) for name, key in names.items()}
    if max(landmarks.values()) >= len(template):
        raise fail("A body model's mesh is not that of its kind", got=f"{len(template)} vertices",
                   expected=f"those of {kind}")  # fmt: skip
    central = np.abs(template[:, 0]) < 0.01
    nose = template[landmarks["nose"]]
    below = central & (template[:, 1] < nose[1]) & (template[:, 1] > nose[1] - 0.12)
    landmarks["crown"] = int(np.where(central, template[:, 1], -np.inf).argmax())
    landmarks["chin"] = int(np.where(below, template[:, 2] - 2 * template[:, 1], -np.inf).argmax())
    return landmarks


def _read_extra(path: str | Path | None, vertices: int) -> np.ndarray | None:
    if path is None:
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = [file[name] for name in file.files if file[name].shape == (19, vertices)]
    except (OSError, ValueError) as error:
        raise fail(f"Cannot read extra joint regressor {path}", got=error, expected="an npz of plain arrays") from None
    if len(arrays) != 1:
        raise fail(f"Cannot use extra joint regressor {path}", got=f"{len(arrays)} arrays of the right shape",
                   expected=f"one (19, {vertices})")  # fmt: skip
    return arrays[0]
