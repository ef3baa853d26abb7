"""What tests of augmentation share."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tokenizer.body.skeleton import index

FIXTURES = Path(__file__).resolve().parents[2].parent / "shared" / "reference" / "fixtures" / "data"


recorded = pytest.mark.skipif(not FIXTURES.exists(), reason="recorded outputs are not part of a clone")


REST = torch.eye(3).expand(21, 3, 3)


ALL = torch.ones(4, dtype=torch.bool)


def pelvis_of(body, sample):
    return body.joints(REST, betas=sample["betas"])[:, index("pelvis")]


def close_to(first, second, atol=1e-4):
    for name in second:
        assert torch.allclose(first[name].double(), second[name].double(), atol=atol, rtol=1e-5), name
