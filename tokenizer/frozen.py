"""What stage 2 sees of a tokenizer: ids in, ids out, soft tokens, and nothing that could train."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .artifact import Artifact, read_artifact
from .body.rotations import rot6d_to_matrix
from .config import TokenizerConfig
from .engine.cli_options import SHIPPED_TOKENIZER as SHIPPED
from .engine.errors import fail
from .network.quantizers import split_ids


class FrozenTokenizer(nn.Module):
    """An exported tokenizer, always in eval mode, with weights that collect no gradient.

    ``num_tokens`` T, ``num_codes`` K, ``codebook`` (K,D); ``levels``: mixed-radix factors of an id whose product is K
    ((K,) where the codebook has no such structure); ``digest``, ``config``, ``provenance`` of the file.
    Follows ``.to(device)``. Any leading batch dimensions.
    """

    codebook: Tensor

    def __init__(self, artifact: Artifact) -> None:
        super().__init__()
        quantizer = artifact.tokenizer.quantizer
        self.tokenizer = artifact.tokenizer.requires_grad_(False)
        self.num_tokens: int = quantizer.num_tokens
        self.num_codes: int = quantizer.num_codes
        self.levels: tuple[int, ...] = quantizer.levels
        self.digest: str = artifact.digest
        self.config: TokenizerConfig = artifact.config
        self.provenance: dict[str, Any] = artifact.provenance
        self.register_buffer("codebook", quantizer.codebook.clone(), persistent=False)
        for number, table in enumerate(_factor_tables(self.codebook, self.levels)):
            self.register_buffer(f"table_{number}", table, persistent=False)
        self.eval()

    def train(self, mode: bool = True) -> FrozenTokenizer:
        """Frozen means frozen: stays in eval mode whatever ``mode`` its parent asks for."""
        super().train(False)
        return self

    def encode(self, rotations: Tensor, visible: Tensor | None = None, *, check: bool = True) -> Tensor:
        """Rotations (...,21,3,3), visible (...,21) bool or None for all → token ids (...,T) int64.

        Raise ``UserError`` for a shape that is not that of 21 body joints, another type than the weights', and, with
        ``check``, which waits for the device, for numbers that are not finite.
        """
        if not isinstance(rotations, Tensor):
            raise fail(
                "Poses to encode are no tensor",
                got=type(rotations).__name__,
                expected="a torch tensor (..., 21, 3, 3)",
                next_step="Give torch.from_numpy(array)",
            )
        if rotations.shape[-3:] != (21, 3, 3):
            raise fail("Poses to encode have the wrong shape", got=tuple(rotations.shape), expected="(..., 21, 3, 3)")
        if rotations.dtype != self.codebook.dtype:
            raise fail(
                "Poses to encode have the wrong type",
                got=rotations.dtype,
                expected=self.codebook.dtype,
                next_step="Give rotations.float()",
            )
        if visible is not None and (visible.dtype != torch.bool or visible.shape[-1:] != (21,)):
            raise fail(
                "Which joints are visible is unclear",
                got=f"{visible.dtype} {tuple(visible.shape)}",
                expected="bool (..., 21)",
            )
        if check and not bool(rotations.isfinite().all()):
            raise fail("Poses to encode are not finite", got="NaN or infinite rotations", expected="rotation matrices")
        lead = rotations.shape[:-3]
        seen = None if visible is None else visible.expand(*lead, 21).reshape(-1, 21)
        ids: Tensor = self.tokenizer.encode(rotations.reshape(-1, 21, 3, 3), seen)
        return ids.view(*lead, self.num_tokens)

    def decode(self, ids: Tensor) -> Tensor:
        """Token ids (...,T) in [0, K) → rotations (...,21,3,3). Raise ``UserError`` for other ids or another T."""
        if not isinstance(ids, Tensor) or ids.dtype not in (torch.int64, torch.int32):
            got = ids.dtype if isinstance(ids, Tensor) else type(ids).__name__
            raise fail("Token ids have the wrong type", got=got, expected="a torch tensor of int64")
        if ids.shape[-1:] != (self.num_tokens,):
            raise fail("Token ids have the wrong shape", got=tuple(ids.shape), expected=f"(..., {self.num_tokens})")
        if ids.numel() and (int(ids.min()) < 0 or int(ids.max()) >= self.num_codes):
            raise fail(
                "Token ids are out of range",
                got=f"{int(ids.min())} to {int(ids.max())}",
                expected=f"0 to {self.num_codes - 1}",
            )
        return self.decode_values(self.codebook[ids])

    def decode_soft(self, probabilities: Tensor) -> Tensor:
        """Probabilities (...,T,K) over codes → rotations (...,21,3,3), differentiable (TokenHMR, section 3.3).

        Probabilities in half precision or bfloat16 are decoded in float32.
        """
        if probabilities.shape[-2:] != (self.num_tokens, self.num_codes):
            raise fail(
                "Token probabilities have the wrong shape",
                got=tuple(probabilities.shape),
                expected=f"(..., {self.num_tokens}, {self.num_codes})",
            )
        return self.decode_values(probabilities.to(self.codebook.dtype) @ self.codebook)

    def split_ids(self, ids: Tensor) -> list[Tensor]:
        """Token ids (...,T) → one tensor of digits (...,T) per factor of ``levels``."""
        return list(split_ids(ids, self.levels).unbind(-1))

    def decode_factored(self, probabilities: Sequence[Tensor]) -> Tensor:
        """One (...,T,L_f) per factor → rotations (...,21,3,3): ``decode_soft`` of their outer product, not built."""
        return rot6d_to_matrix(self.decode_factored_rot6d(probabilities))

    def decode_factored_rot6d(self, probabilities: Sequence[Tensor]) -> Tensor:
        """``decode_factored`` before Gram and Schmidt: 6D (...,21,6) float32, to which an offset may be added."""
        return self._decode_rot6d(self.soft_values(probabilities))

    def soft_values(self, probabilities: Sequence[Tensor]) -> Tensor:
        """One (...,T,L_f) per factor → expected codes (...,T,D), which ``decode_values`` decodes."""
        shapes = [tuple(p.shape[-2:]) for p in probabilities]
        expected = [(self.num_tokens, level) for level in self.levels]
        if shapes != expected:
            raise fail("Factored probabilities have the wrong shapes", got=shapes, expected=expected)
        tables = [self.get_buffer(f"table_{number}") for number in range(len(self.levels))]
        values = [p.to(table.dtype) @ table for p, table in zip(probabilities, tables, strict=True)]
        return torch.stack(values).sum(0)

    def decode_values(self, values: Tensor) -> Tensor:
        """Token values (...,T,D), codes or anything around them → rotations (...,21,3,3), differentiable."""
        return rot6d_to_matrix(self._decode_rot6d(values))

    def _decode_rot6d(self, values: Tensor) -> Tensor:
        lead = values.shape[:-2]
        return self.tokenizer.decode_rot6d(values.reshape(-1, *values.shape[-2:])).view(*lead, 21, 6)


def _factor_tables(codebook: Tensor, levels: tuple[int, ...]) -> list[Tensor]:
    """Tables (L_f,D) whose rows, picked by an id's digits, add up to the id's code."""
    tables = []
    for number, level in enumerate(levels):
        stride = math.prod(levels[:number])
        rows = codebook[torch.arange(level, device=codebook.device) * stride]
        tables.append(rows if number == 0 else rows - codebook[0])
    digits = split_ids(torch.arange(len(codebook), device=codebook.device), levels)
    summed = torch.stack([table[digits[:, number]] for number, table in enumerate(tables)]).sum(0)
    if not torch.allclose(summed, codebook, atol=1e-5):
        raise fail("The codebook is not the sum of its factors", got=f"levels {levels}")
    return tables


def load_tokenizer(path: str | Path | None = None) -> FrozenTokenizer:
    """Read an exported tokenizer for use: the one that ships with the package, or that at ``path``.

    Raise ``UserError`` as ``artifact.read_artifact`` does, and where none ships.
    """
    if path is None and not SHIPPED.exists():
        raise fail("No tokenizer ships with this package", next_step="Make it with `make weights`, or name another")
    return FrozenTokenizer(read_artifact(SHIPPED if path is None else path))
