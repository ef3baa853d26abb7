"""Scoring rules by name: which points are compared, and what is put on each other first.

The same predictions score differently by several millimetres under the rules of different papers; here a rule has a
name, a sentence that says it, and one function.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tokenizer import Body
from tokenizer.body.metrics import similarity_align
from tokenizer.body.skeleton import JOINT_NAMES, KEYPOINT_NAMES, index, keypoint_index
from tokenizer.engine.errors import fail
from tokenizer.engine.files.npz import read_npy, read_npz

PROTOCOLS = ("synthetic", "3dpw", "emdb", "3dpw-reference", "emdb-reference")
_LSP_NAMES = tuple(name.removeprefix("lsp_") for name in KEYPOINT_NAMES if name.startswith("lsp_"))
_LSP_OF_H36M = (6, 5, 4, 1, 2, 3, 16, 15, 14, 11, 12, 13, 8, 10)
"""Rows of the (17,V) Human3.6M regressor, pelvis first, in LSP's order of 14 joints (Kanazawa et al., HMR, 2018)."""
_COMMON = "Millimetres. Every sample counts once, none is dropped; means over samples."


@dataclass
class BodyPoints:
    """Points of posed bodies in camera axes, metres: joints (B,24,3), vertices (B,V,3), keypoints (B,44,3); None where
    nobody asked for them."""

    joints: Tensor
    vertices: Tensor | None = None
    keypoints: Tensor | None = None

    def replaced(self, rows: Tensor, other: BodyPoints) -> BodyPoints:
        """These bodies, with those of ``other`` at ``rows`` (B,) bool."""

        def mixed(ours: Tensor | None, theirs: Tensor | None) -> Tensor | None:
            return None if ours is None or theirs is None else torch.where(rows[:, None, None], theirs, ours)

        joints = torch.where(rows[:, None, None], other.joints, self.joints)
        return BodyPoints(joints, mixed(self.vertices, other.vertices), mixed(self.keypoints, other.keypoints))


@dataclass(frozen=True)
class Protocol:
    """One rule. ``points`` gives the joints (B,J,3) that are compared and the root (B,3) that is put on the other's.

    ``keypoints``: whether the 44 keypoints are needed, and taken from the annotation where it has them;
    ``neutral_is_female``: a habit of the released code. True bodies are those of the annotated gender.
    """

    name: str
    rules: str
    joint_names: tuple[str, ...]
    points: Callable[[BodyPoints], tuple[Tensor, Tensor]]
    keypoints: bool = False
    neutral_is_female: bool = False

    def score(self, predicted: BodyPoints, target: BodyPoints) -> dict[str, Tensor]:
        """``mpjpe_mm``, ``pa_mpjpe_mm`` (B,), ``joints_mm`` (B,J), and ``pve_mm`` (B,) where there are vertices."""
        (ours, our_root), (theirs, their_root) = self.points(predicted), self.points(target)
        rooted = 1000 * ((ours - our_root[:, None]) - (theirs - their_root[:, None])).norm(dim=-1)
        aligned = 1000 * (similarity_align(ours, theirs) - theirs).norm(dim=-1)
        scores = {"mpjpe_mm": rooted.mean(-1), "pa_mpjpe_mm": aligned.mean(-1), "joints_mm": rooted}
        if predicted.vertices is not None and target.vertices is not None:
            apart = (predicted.vertices - our_root[:, None]) - (target.vertices - their_root[:, None])
            scores["pve_mm"] = 1000 * apart.norm(dim=-1).mean(-1)
        return scores


def protocol(name: str, body: Body, joint_regressor: Tensor | None = None) -> Protocol:
    """The rule called ``name`` for predictions on ``body``.

    ``joint_regressor`` (17,V): Human3.6M joints from vertices, for ``3dpw``. Raises ``UserError`` for an unknown name,
    or where that regressor is missing.
    """
    hips = [index("left_hip"), index("right_hip")]
    vertices = f"PVE: all {len(body.v_template):,} vertices, rooted likewise."
    if name == "synthetic":
        return Protocol(
            name,
            "MPJPE: mean distance over the 24 SMPL joints, camera axes, pelvis joints put on each other; "
            f"PA-MPJPE: the same joints after the best similarity (Umeyama, no reflection); {vertices} Predicted shape "
            f"against annotated shape. {_COMMON}",
            JOINT_NAMES,
            lambda points: (points.joints, points.joints[:, index("pelvis")]),
        )
    if name == "emdb":
        return Protocol(
            name,
            "MPJPE: the 24 kinematic joints, middles of the two hips put on each other; PA-MPJPE: after the best "
            f"similarity; {vertices} True bodies of the annotated gender, predictions neutral. {_COMMON}",
            JOINT_NAMES,
            lambda points: (points.joints, points.joints[:, hips].mean(1)),
        )
    if name == "emdb-reference":
        regressor = body.J_regressor[body.smpl_joints]
        return Protocol(
            name,
            "As TokenHMR's released code scores EMDB: 24 joints regressed from the posed mesh by the rest-pose "
            f"regressor of the predicted body, middles of the two hips put on each other; {vertices} True bodies that "
            f"are neutral count as female where there are genders. {_COMMON}",
            JOINT_NAMES,
            lambda points: _rooted_at(regressor @ _mesh(points), hips),
            neutral_is_female=True,
        )
    if name == "3dpw":
        if joint_regressor is None:
            raise fail(
                "Protocol '3dpw' takes its joints from the mesh",
                got="no joint regressor",
                expected="the Human3.6M regressor, J_regressor_h36m.npy, (17, vertices)",
                next_step="It is in SPIN's data (fetch_data.sh); give it with --joint-regressor",
            )
        rows = list(_LSP_OF_H36M)
        return Protocol(
            name,
            "MPJPE: 14 LSP joints by the Human3.6M regressor on both meshes, its pelvis put on its pelvis; "
            f"PA-MPJPE: after the best similarity; {vertices} True bodies of the annotated gender, predictions "
            f"neutral. {_COMMON}",
            _LSP_NAMES,
            lambda points: _chosen(joint_regressor @ _mesh(points), rows, [0]),
        )
    if name == "3dpw-reference":
        chosen = [i for i, keypoint in enumerate(KEYPOINT_NAMES) if keypoint.startswith("lsp_")][:-1]
        chosen.append(keypoint_index("h36m_head"))
        root = [keypoint_index("mpii_pelvis")]
        return Protocol(
            name,
            "As TokenHMR's released code scores 3DPW: LSP's joints without the crown, and Human3.6M's head, of "
            f"the 44 keypoints, their pelvis put on the annotation's; keypoints as annotated, if they are; {vertices} "
            f"True bodies that are neutral count as female where there are genders. {_COMMON}",
            tuple(KEYPOINT_NAMES[i] for i in chosen),
            lambda points: _chosen(_keypoints(points), chosen, root),
            keypoints=True,
            neutral_is_female=True,
        )
    raise fail(f"Unknown protocol {name!r}", expected=f"one of {', '.join(PROTOCOLS)}, 2d")


def check_extra_regressor(name: str, body: Body, extra_regressor: str | Path | None) -> None:
    """Raise ``UserError`` where the rule called ``name`` would take keypoints by another rule than it says."""
    if name == "3dpw-reference" and extra_regressor is None and body.kind != "open":
        raise fail(
            f"Protocol {name!r} takes its keypoints from the mesh",
            got="no extra regressor",
            expected="SMPL_to_J19.pkl, (19, vertices)",
            next_step="It is in 4D-Humans' data (hmr2_data.tar.gz); give it with --extra-regressor",
        )


def read_joint_regressor(path: str | Path, vertices: int) -> Tensor:
    """``J_regressor_h36m.npy`` (or an npz of it alone) → (17, ``vertices``) float32.

    Raises ``UserError`` for a file that is damaged, holds objects, or has another shape.
    """
    path = Path(path)
    if path.suffix == ".npz":
        arrays = list(read_npz(path, "joint regressor").values())
    else:
        try:
            arrays = [read_npy(path)]
        except (OSError, ValueError, EOFError) as error:
            raise fail(f"Cannot read joint regressor {path}", got=error, expected="a plain npy file") from None
    if len(arrays) != 1 or arrays[0].shape != (17, vertices) or not np.isfinite(arrays[0]).all():
        shapes = ", ".join(str(array.shape) for array in arrays)
        raise fail(
            f"Cannot use joint regressor {path}",
            got=f"arrays of {shapes}",
            expected=f"one of (17, {vertices}) finite numbers",
        )
    return torch.from_numpy(arrays[0].astype(np.float32))


def _mesh(points: BodyPoints) -> Tensor:
    assert points.vertices is not None
    return points.vertices


def _keypoints(points: BodyPoints) -> Tensor:
    assert points.keypoints is not None
    return points.keypoints


def _rooted_at(points: Tensor, root: list[int]) -> tuple[Tensor, Tensor]:
    return points, points[:, root].mean(1)


def _chosen(points: Tensor, chosen: list[int], root: list[int]) -> tuple[Tensor, Tensor]:
    return points[:, chosen], points[:, root].mean(1)
