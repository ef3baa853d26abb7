"""SMPL, SMPL-H and SMPL-X model files as arrays: npz, or the official pickles without chumpy."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from ..engine.errors import fail
from ..engine.safe_pickle import as_array, load_pickle

_KINDS = {24: "smpl", 52: "smplh", 55: "smplx"}
_KEYS = ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "f", "kintree_table")
_WHERE = (
    "Get SMPL from https://smpl.is.tue.mpg.de, SMPL-H from https://mano.is.tue.mpg.de, "
    "SMPL-X from https://smpl-x.is.tue.mpg.de, or use the open body with --body open"
)


def find_model_file(source: str | Path, gender: str) -> Path:
    """A file as given, or the one for ``gender`` in a directory (SMPL_NEUTRAL.pkl and the like, one level deep).

    Raises ``UserError`` saying what was looked for, three ways to give it and where to get it.
    """
    source = Path(source)
    if source.is_file():
        return source
    stems = [f"{kind}_{gender}".lower() for kind in ("SMPL", "SMPLH", "SMPLX")]
    if source.is_dir():
        for path in sorted([*source.glob("*.*"), *source.glob("*/*.*")]):
            if path.suffix in (".npz", ".pkl") and path.stem.lower() in stems:
                return path
    raise fail(
        f"No {gender} body model at {source}",
        expected="a SMPL-family .npz or .pkl file, or a directory with SMPL_NEUTRAL.pkl, SMPLH_NEUTRAL.npz or alike",
        next_step=_WHERE,
    )


def read_model_file(path: Path, num_betas: int) -> tuple[str, dict[str, np.ndarray]]:
    """The kind (``smpl``, ``smplh``, ``smplx``) and float32 arrays, betas cut to ``num_betas``.

    Raises ``UserError`` naming every key that is missing or misshapen; nothing in a pickle is run.
    """
    if path.suffix == ".npz":
        try:
            with np.load(path, allow_pickle=False) as file:
                raw = {key: file[key] for key in file.files if key in _KEYS}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise fail(f"Cannot read body model {path}", got=error, expected="an npz of plain arrays") from None
    else:
        table = load_pickle(path)
        if not isinstance(table, dict):
            raise fail(f"Cannot read body model {path}", got=type(table).__name__, expected="a pickled dictionary")
        raw = {key: as_array(table[key]) for key in _KEYS if key in table}
    missing = [key for key in _KEYS if key not in raw]
    if missing:
        raise fail(f"Body model {path} is incomplete", got=f"no {', '.join(missing)}", expected=", ".join(_KEYS),
                   next_step=_WHERE)  # fmt: skip
    joints, count = raw["kintree_table"].shape[-1], len(raw["v_template"])
    kind = _KINDS.get(joints)
    shapes = {
        "v_template": (count, 3), "shapedirs": (count, 3, raw["shapedirs"].shape[-1]), "f": (len(raw["f"]), 3),
        "posedirs": (count, 3, 9 * (joints - 1)), "J_regressor": (joints, count), "weights": (count, joints),
    }  # fmt: skip
    wrong = [f"{key} {raw[key].shape}, not {shape}" for key, shape in shapes.items() if raw[key].shape != shape]
    if kind is None or wrong or raw["shapedirs"].shape[-1] < num_betas:
        got = "; ".join(wrong) or f"{joints} joints, {raw['shapedirs'].shape[-1]} betas"
        raise fail(f"Body model {path} has unexpected shapes", got=got,
                   expected=f"24 (SMPL), 52 (SMPL-H) or 55 (SMPL-X) joints and {num_betas} betas")  # fmt: skip
    parents = raw["kintree_table"][0].astype(np.int64)
    parents[0] = -1
    arrays = {key: raw[key].astype(np.float32) for key in ("v_template", "posedirs", "J_regressor", "weights")}
    arrays["shapedirs"] = raw["shapedirs"][..., :num_betas].astype(np.float32)
    if not all(np.isfinite(values).all() for values in arrays.values()):
        raise fail(f"Body model {path} holds numbers that are not finite")
    return kind, arrays | {"faces": raw["f"].astype(np.int64), "parents": parents}
