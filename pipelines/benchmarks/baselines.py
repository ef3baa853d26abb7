"""Classical ways of writing a pose in few bits, behind the interface of a tokenizer: k-means, and PCA with rounding."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.cluster.vq import kmeans2
from torch import Tensor

from tokenizer.body.rotations import axis_angle_to_matrix, matrix_to_rot6d, rot6d_to_matrix
from tokenizer.body.skeleton import NUM_BODY_JOINTS

_RANGE = 4.0


class KMeans:
    """Nearest of K centres in 6D (Lloyd, 1982): for whole poses (``parts`` 1), or for each joint its own (21)."""

    def __init__(self, poses: Tensor, parts: int, num_codes: int, *, seed: int, iterations: int = 20) -> None:
        flat = matrix_to_rot6d(axis_angle_to_matrix(poses)).flatten(1).unflatten(1, (parts, -1))
        draw = np.random.default_rng(seed)
        centres = []
        for part in flat.unbind(1):
            start = part[torch.from_numpy(draw.choice(len(part), num_codes, replace=False))]
            centroids, _ = kmeans2(part.numpy(), start.numpy(), iter=iterations, minit="matrix")
            # A centre that lost all its poses is not a number to scipy's mean: it stays where it began.
            centres.append(torch.where(torch.from_numpy(centroids).isfinite(), torch.from_numpy(centroids), start))
        self.centres = torch.stack(centres).float()
        self.num_codes = num_codes
        self.bits = parts * math.log2(num_codes)

    def encode(self, rotations: Tensor) -> Tensor:
        """Rotations (B,21,3,3) → ids (B,parts)."""
        flat = matrix_to_rot6d(rotations).flatten(1).unflatten(1, (len(self.centres), -1))
        return torch.stack([torch.cdist(x, c).argmin(-1) for x, c in zip(flat.unbind(1), self.centres, strict=True)], 1)

    def decode(self, ids: Tensor) -> Tensor:
        """Ids (B,parts) → rotations (B,21,3,3)."""
        rows = [centre[column] for centre, column in zip(self.centres, ids.unbind(1), strict=True)]
        return rot6d_to_matrix(torch.cat(rows, -1).unflatten(-1, (NUM_BODY_JOINTS, 6)))


class PcaRounding:
    """Principal components of the 6D, each rounded to multiples of one step, as many as ``bits`` a pose allow.

    One step for all components is the best allocation at a given error (reverse water-filling; Cover and Thomas,
    section 10.3); a component takes the bits of the cells that ±4 deviations need, none where that is one cell.
    """

    def __init__(self, poses: Tensor, bits: float) -> None:
        flat = matrix_to_rot6d(axis_angle_to_matrix(poses)).flatten(1).double()
        self.mean = flat.mean(0)
        _, singular, directions = torch.linalg.svd(flat - self.mean, full_matrices=False)
        deviation = singular / math.sqrt(len(flat))
        low, high = 1e-5, float(deviation.max()) * 2 * _RANGE
        for _ in range(60):
            step = math.sqrt(low * high)
            low, high = (step, high) if self._bits(deviation, step) > bits else (low, step)
        self.step, self.cells = high, self._cells(deviation, high)
        self.bits = self._bits(deviation, high)
        used = self.cells > 1
        self.directions, self.cells = directions[used], self.cells[used]
        self.num_codes = int(self.cells.max())

    @staticmethod
    def _cells(deviation: Tensor, step: float) -> Tensor:
        return (2 * (_RANGE * deviation / step - 0.5).ceil().clamp_min(0) + 1).long()

    @classmethod
    def _bits(cls, deviation: Tensor, step: float) -> float:
        return float(cls._cells(deviation, step).double().log2().sum())

    def encode(self, rotations: Tensor) -> Tensor:
        """Rotations (B,21,3,3) → ids (B,components), each below its own number of cells."""
        scores = (matrix_to_rot6d(rotations).flatten(1).double() - self.mean) @ self.directions.T
        half = (self.cells - 1) // 2
        return (scores / self.step).round().long().clamp(-half, half) + half

    def decode(self, ids: Tensor) -> Tensor:
        """Ids (B,components) → rotations (B,21,3,3)."""
        scores = (ids - (self.cells - 1) // 2).double() * self.step
        flat = scores @ self.directions + self.mean
        return rot6d_to_matrix(flat.float().unflatten(-1, (NUM_BODY_JOINTS, 6)))
