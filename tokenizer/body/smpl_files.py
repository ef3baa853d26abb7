"""SMPL, SMPL-H and SMPL-X model files as arrays: npz, or the official pickles without chumpy."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from ..engine.errors import UserError, fail
from ..engine.files.npz import read_npz
from ..engine.files.safe_pickle import as_array, load_pickle

_KINDS = {24: "smpl", 52: "smplh", 55: "smplx"}
_KEYS = {"v_template": 2, "shapedirs": 3, "posedirs": 3, "J_regressor": 2, "weights": 2, "f": 2, "kintree_table": 2}
_WHERE = (
    "Get SMPL from https://smpl.is.tue.mpg.de, SMPL-H from https://mano.is.tue.mpg.de, "
    "SMPL-X from https://smpl-x.is.tue.mpg.de, or use the open body with --body open"
)
_NAMES = (
    re.compile(r"(?P<kind>smpl[hx]?)_(?P<gender>neutral|male|female)"),
    re.compile(r"basicmodel_(?P<gender>neutral|m|f)_lbs_.*"),
    re.compile(r"(?P<kind>smplh|smplx)/(?P<gender>neutral|male|female)/model"),
)
"""The makers' file names, lower case without suffix: smplx's layout, SMPL's download, AMASS's SMPL+H."""


def find_model_file(source: str | Path, gender: str) -> tuple[Path, str]:
    """A file as given, or the one for ``gender`` in a directory, by the makers' file names, up to three levels deep.

    Where a directory holds several kinds, SMPL comes before SMPL-H before SMPL-X, and npz before pickles. Returns the
    path and the gender: that of the file's name where the file itself is given and its name says one.
    Raise ``UserError`` saying what was found, three ways to give it and where to get it.
    """
    source = Path(source)
    if source.is_file():
        named = _kind_and_gender(source)
        return source, named[1] if named else gender
    candidates = []
    if source.is_dir():
        paths = [path for depth in ("*", "*/*", "*/*/*") for path in source.glob(depth)]
        named_paths = [(_kind_and_gender(path), path) for path in paths if path.suffix in (".npz", ".pkl")]
        candidates = sorted((*named, path.suffix, path) for named, path in named_paths if named)
    for _, found_gender, _, path in candidates:
        if found_gender == gender:
            return path, gender
    raise fail(
        f"No {gender} body model at {source}",
        got=", ".join(str(path) for *_, path in candidates) or "no model file" if source.exists() else "nothing there",
        expected="a SMPL-family .npz or .pkl file, or a directory with SMPL_NEUTRAL.pkl, SMPLH_NEUTRAL.npz or alike",
        next_step=_WHERE,
    )


def read_model_file(path: Path, num_betas: int) -> tuple[str, dict[str, np.ndarray]]:
    """The kind (``smpl``, ``smplh``, ``smplx``) and float32 arrays, betas cut to ``num_betas``.

    Raise ``UserError`` naming every key that is missing or misshapen; nothing in a pickle is run.
    """
    if path.suffix == ".npz":
        raw = read_npz(path, "body model", _KEYS)
    else:
        table = load_pickle(path)
        if not isinstance(table, dict):
            raise fail(f"Cannot read body model {path}", got=type(table).__name__, expected="a pickled dictionary")
        raw = {key: as_array(table[key]) for key in _KEYS if key in table}
    missing = [key for key in _KEYS if key not in raw]
    if missing:
        raise fail(
            f"Body model {path} is incomplete",
            got=f"no {', '.join(missing)}",
            expected=", ".join(_KEYS),
            next_step=_WHERE,
        )
    kind, betas = _checked_kind(path, raw)
    if not 0 < num_betas <= betas:
        raise fail(f"Body model {path} has no such number of betas", got=num_betas, expected=f"1 to {betas}")
    parents = raw["kintree_table"][0].astype(np.int64)
    parents[0] = -1
    if (parents[1:] < 0).any() or (parents >= np.arange(len(parents))).any():
        raise fail(f"Body model {path} has joints before their parents", got=parents.tolist())
    arrays = {key: raw[key].astype(np.float32) for key in ("v_template", "posedirs", "J_regressor", "weights")}
    arrays["shapedirs"] = raw["shapedirs"][..., :num_betas].astype(np.float32)
    faces = raw["f"].astype(np.int64)
    if not all(np.isfinite(values).all() for values in arrays.values()):
        raise fail(f"Body model {path} holds numbers that are not finite")
    if faces.size and not 0 <= faces.min() <= faces.max() < len(arrays["v_template"]):
        raise fail(
            f"Body model {path} has faces of vertices it does not have",
            got=f"{faces.min()} to {faces.max()}",
            expected=f"0 to {len(arrays['v_template']) - 1}",
        )
    return kind, arrays | {"faces": faces, "parents": parents}


def read_extra_regressor(path: str | Path, vertices: int) -> np.ndarray:
    """The one (19, ``vertices``) float32 array of an npz or a pickle: keypoints 25-43 from vertices.

    Raise ``UserError`` for a file that is damaged, or holds none or several of them.
    """
    path = Path(path)
    if path.suffix == ".npz":
        values = list(read_npz(path, "extra joint regressor").values())
    else:
        table = load_pickle(path)
        values = [as_array(value) for value in (table.values() if isinstance(table, dict) else [table])]
    fitting = [value for value in values if value.shape == (19, vertices) and value.dtype.kind in "fiu"]
    if len(fitting) != 1 or not np.isfinite(fitting[0]).all():
        shapes = ", ".join(str(value.shape) for value in values)
        raise fail(
            f"Cannot use extra joint regressor {path}",
            got=f"arrays of {shapes}",
            expected=f"one (19, {vertices}) of finite numbers",
        )
    return fitting[0].astype(np.float32)


def landmark_vertices(kind: str, template: np.ndarray) -> dict[str, int]:
    """Landmark vertices of a SMPL-family mesh (V,3) by name: those ``smplx`` lists, and two extreme vertices.

    Raise ``UserError`` for a mesh that is not that of its kind.
    """
    from smplx.vertex_ids import vertex_ids

    names = {
        "nose": "nose",
        "left_eye": "leye",
        "right_eye": "reye",
        "left_ear": "lear",
        "right_ear": "rear",
        "left_big_toe": "LBigToe",
        "left_small_toe": "LSmallToe",
        "left_heel": "LHeel",
        "right_big_toe": "RBigToe",
        "right_small_toe": "RSmallToe",
        "right_heel": "RHeel",
    }
    table = vertex_ids["smplx" if kind == "smplx" else "smplh"]
    landmarks = {name: int(table[key]) for name, key in names.items()}
    if max(landmarks.values()) >= len(template):
        raise fail(
            "A body model's mesh is not that of its kind", got=f"{len(template)} vertices", expected=f"those of {kind}"
        )
    central = np.abs(template[:, 0]) < 0.01
    nose = template[landmarks["nose"]]
    below = central & (template[:, 1] < nose[1]) & (template[:, 1] > nose[1] - 0.12)
    landmarks["crown"] = int(np.where(central, template[:, 1], -np.inf).argmax())
    landmarks["chin"] = int(np.where(below, template[:, 2] - 2 * template[:, 1], -np.inf).argmax())
    return landmarks


def _kind_and_gender(path: Path) -> tuple[str, str] | None:
    """From a file's name and the two folders above it; None where they say neither."""
    whole = "/".join(path.with_suffix("").parts[-3:]).lower()
    for pattern in _NAMES:
        match = pattern.fullmatch(whole if "/" in pattern.pattern else whole.rpartition("/")[2])
        if match:
            gender = {"m": "male", "f": "female"}.get(match["gender"], match["gender"])
            return match.groupdict().get("kind") or "smpl", gender
    return None


def _checked_kind(path: Path, raw: dict[str, np.ndarray]) -> tuple[str, int]:
    """The kind and how many betas the file has. Raise ``UserError`` listing all that does not fit together."""
    wrong = [
        f"{key} {raw[key].dtype} {raw[key].shape}"
        for key, dimensions in _KEYS.items()
        if raw[key].ndim != dimensions or raw[key].dtype.kind not in "fiu"
    ]
    if wrong:
        raise _misshapen(path, "; ".join(wrong))
    joints, count, directions = raw["kintree_table"].shape[1], len(raw["v_template"]), raw["shapedirs"].shape[2]
    shapes = {
        "v_template": (count, 3),
        "shapedirs": (count, 3, directions),
        "posedirs": (count, 3, 9 * (joints - 1)),
        "J_regressor": (joints, count),
        "weights": (count, joints),
        "f": (len(raw["f"]), 3),
    }
    wrong = [f"{key} {raw[key].shape}, not {shape}" for key, shape in shapes.items() if raw[key].shape != shape]
    if wrong or joints not in _KINDS or not count:
        raise _misshapen(path, "; ".join(wrong) or f"{joints} joints, {count} vertices")
    if _KINDS[joints] != "smplx":
        return _KINDS[joints], directions
    return "smplx", 300 if directions > 300 else min(directions, 10)  # the rest are expressions of the face


def _misshapen(path: Path, got: str) -> UserError:
    expected = "numbers for 24 (SMPL), 52 (SMPL-H) or 55 (SMPL-X) joints, all for the same vertices"
    return fail(f"Body model {path} has unexpected shapes", got=got, expected=expected)
