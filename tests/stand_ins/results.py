"""Results of an evaluation from a list of errors."""

from __future__ import annotations

import torch

from regressor.evaluation.results import Report


def report_of(errors, protocol_name="emdb", sequences=None, **about):
    values = torch.tensor(errors)
    rows = {"regressor, tokens": {"mpjpe_mm": values, "pa_mpjpe_mm": values / 2, "pve_mm": values * 1.1}}
    about = {
        "protocol": "A rule.",
        "protocol_name": protocol_name,
        "samples": len(errors),
        "crops": "abc",
        "split": "test",
        **about,
    }
    joints = {"regressor, tokens": torch.stack([values, 2 * values], 1)}
    return Report(about, rows, joints, ("a", "b"), ["regressor, tokens"], sequences)
