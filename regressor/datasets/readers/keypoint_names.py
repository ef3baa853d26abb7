"""Keypoints by the names that data sets and annotation programs give them, in whatever order they list them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tokenizer.body.skeleton import KEYPOINT_NAMES
from tokenizer.engine.errors import fail

from .joint_orders import BODY25, COCO17, HALPE26, HALPE136, WHOLE_BODY133

_FEWEST = 5
"""Names that are known, below which a list is of something else: a hand, a face, an object."""
_BY_COUNT = {17: COCO17, 26: HALPE26, 133: WHOLE_BODY133, 136: HALPE136}
"""What so many keypoints are where nothing names them."""
_WORDS = {
    "l": "left",
    "r": "right",
    "lft": "left",
    "rgt": "right",
    "sho": "shoulder",
    "elb": "elbow",
    "wri": "wrist",
    "kne": "knee",
    "ank": "ankle",
    "bigtoe": "big_toe",
    "smalltoe": "small_toe",
    "midhip": "mid_hip",
}
_SAME = {
    "pelvis": "mid_hip",
    "hip": "mid_hip",
    "root": "mid_hip",
    "hip_center": "mid_hip",
    "hips": "mid_hip",
    "thorax": "mpii_thorax",
    "spine": "h36m_spine",
    "upper_neck": "lsp_neck",
    "head_bottom": "lsp_neck",
    "head_top": "lsp_crown",
    "top_head": "lsp_crown",
    "top_of_head": "lsp_crown",
    "crown": "lsp_crown",
    "left_bt": "left_big_toe",
    "right_bt": "right_big_toe",
    "left_st": "left_small_toe",
    "right_st": "right_small_toe",
}
_SHORT = re.compile(r"([lr])(bt|st|h|eye|ear|shoulder|elbow|wrist|hip|knee|ankle|heel|big_?toe|small_?toe)")


def plain_name(name: str) -> str:
    """A name in the spelling of the 44: ``LBigToe``, ``left big-toe`` and ``l_bigtoe`` are all ``left_big_toe``."""
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name.strip())
    words = [word for word in re.split(r"[^a-z0-9]+", apart.lower()) if word]
    text = "_".join(_WORDS.get(word, word) for word in words)
    short = _SHORT.fullmatch(text)
    if short:
        text = f"{_WORDS[short.group(1)]}_{_WORDS.get(short.group(2), short.group(2))}"
    for side in ("left", "right"):
        if text.endswith(f"_{side}"):
            text = f"{side}_{text.removesuffix(f'_{side}')}"
        elif text.startswith(side) and not text.startswith(f"{side}_"):
            text = f"{side}_{text.removeprefix(side)}"
    return _SAME.get(text, text)


def named_layout(names: Sequence[str], where: str) -> tuple[str, ...]:
    """For each of ``names`` the keypoint of the 44 that it is, '' for none and for a second of one kind.

    Raises ``UserError`` with both lists where hardly any is known.
    """
    layout: list[str] = []
    plain = list(map(plain_name, names))
    if "left_big_toe" in plain:  # only together with toes does Halpe's "lh" mean a heel
        plain = [name.replace("_h", "_heel") if name in ("left_h", "right_h") else name for name in plain]
    for name in plain:
        layout.append(name if name in KEYPOINT_NAMES and name not in layout else "")
    if sum(map(bool, layout)) < _FEWEST:
        raise fail(
            f"{where} names keypoints of another kind",
            got=", ".join(map(str, names))[:300],
            expected=f"among them some of {', '.join((*COCO17, *BODY25[19:]))}",
        )
    return tuple(layout)


def layout(count: int, names: Sequence[str] | None, where: str) -> tuple[str, ...]:
    """Which of the 44 each of ``count`` keypoints is, by ``names`` where the file has some, else by their number.

    Names of the 17 of COCO also stand before lists that begin with these: Halpe's and COCO-WholeBody's. Raises
    ``UserError`` where that says nothing, with the names that were read and those expected.
    """
    if names is None:
        if count not in _BY_COUNT:
            numbers = ", ".join(map(str, _BY_COUNT))
            raise fail(
                f"{where} has keypoints of an unknown order",
                got=f"{count} keypoints without names",
                expected=f"{numbers}, or their names in categories[].keypoints",
            )
        return _BY_COUNT[count]
    if len(names) == count:
        return named_layout(names, where)
    if tuple(map(plain_name, names)) == COCO17 and count in _BY_COUNT:
        return _BY_COUNT[count]
    raise fail(
        f"{where} has another number of keypoints than its category names",
        got=f"{count} keypoints",
        expected=f"{len(names)}: {', '.join(map(str, names))}"[:300],
    )
