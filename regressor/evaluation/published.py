"""Figures that others published, to stand beside a user's own: never measured here, and marked as such.

Millimetres, from TokenHMR (Dwivedi et al., CVPR 2024; arXiv 2404.16752) and the notes of its release.
"""

from __future__ import annotations

_ROWS: dict[str, dict[str, tuple[float, float, float | None]]] = {
    "3dpw": {
        "HMR2.0 retrained on TokenHMR's data (paper)": (77.4, 47.4, None),
        "TokenHMR (paper)": (71.0, 44.3, 84.6),
        "TokenHMR, released checkpoint": (70.9, 44.8, 84.3),
        "TokenHMR, released, BEDLAM only, no TALS": (71.6, 44.0, 85.7),
    },
    "emdb": {
        "HMR2.0 retrained on TokenHMR's data (paper)": (99.3, 62.8, None),
        "TokenHMR (paper)": (91.7, 55.6, 109.4),
        "TokenHMR, released checkpoint": (89.5, 55.6, 108.5),
        "TokenHMR, released, BEDLAM only, no TALS": (89.6, 49.8, 106.2),
    },
}
DATA_SETS = {"3dpw": "3DPW test", "emdb": "EMDB 1"}
"""What those rows are of, by protocol."""


def published_rows(protocol: str) -> dict[str, dict[str, float]]:
    """What is published on the data set that a protocol is of, by row and metric, mm; empty for synthetic data."""
    rows = _ROWS.get(protocol.removesuffix("-reference"), {})
    names = ("mpjpe_mm", "pa_mpjpe_mm", "pve_mm")
    return {
        row: {name: value for name, value in zip(names, figures, strict=True) if value is not None}
        for row, figures in rows.items()
    }
