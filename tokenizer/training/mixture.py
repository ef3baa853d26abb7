"""The training batch of a step: drawn from all poses alike, or from each data set by its weight, as in the paper.

Every random draw comes from (seed, step), so a resumed run restores nothing. Every process of a distributed run draws
the whole batch and takes its part: results do not depend on their number.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..body.rotations import axis_angle_to_matrix, perturb_rotations
from ..config import TokenizerConfig
from ..engine.errors import fail
from ..engine.shares import folded, parse_shares
from ..mocap.datasets import PAPER_MIXTURE, canonical_name, dataset_of
from ..mocap.store import PoseStore
from .augmentation import augment, disturb, visible_joints

_NEXT_STEP = "See the data sets of a store with `pose-tokenizer inspect`"


@dataclass(frozen=True)
class Mixture:
    """Data sets of the train split by their share of a batch; ``shares`` is empty where every pose counts alike.

    ``rows`` (N,) are positions in the train split, data set after data set; ``starts`` and ``counts`` (D,) say where
    each lies in them, ``edges`` (D,) are cumulated shares. ``datasets`` are all that the train split has; ``note`` says
    in a line what is drawn of them, and what is not.
    """

    shares: dict[str, float]
    datasets: tuple[str, ...]
    note: str
    rows: np.ndarray
    starts: np.ndarray
    counts: np.ndarray
    edges: np.ndarray

    @classmethod
    def of(cls, store: PoseStore, text: str) -> Mixture:
        """The mixture ``text`` over the train split of a store: ``cmu=.12,moyo=.16``, ``paper``, or nothing.

        Weights are relative. Names of data sets that are known count in any of their spellings; ``rest`` is all that
        are not named. ``paper`` is renormalised over what is present, and where nothing is, every pose counts alike.
        Raise ``UserError`` for a text of another form, and for a data set that has no training poses in the store.
        """
        rows = _rows_of_datasets(store)
        named = _with_the_rest(parse_shares(text, canonical_name, named={"paper": PAPER_MIXTURE}), rows)
        spelled = {folded(canonical_name(name)): name for name in rows}
        present = {spelled[key]: weight for name, weight in named.items() if (key := folded(name)) in spelled}
        absent = [name for name in named if folded(name) not in spelled]
        if absent and text != "paper":
            raise fail(
                f"The mixture names data sets that have no training poses in {store.path}",
                got=", ".join(absent),
                expected=f"some of {', '.join(rows)}",
                next_step=_NEXT_STEP,
            )
        shares = {name: weight / sum(present.values()) for name, weight in present.items()}
        chosen = [rows[name] for name in shares] or list(rows.values())
        counts = np.array([len(part) for part in chosen], dtype=np.int64)
        edges = np.cumsum([*shares.values()])
        edges[-1:] = 1  # it may have been rounded below
        return cls(
            shares=shares,
            datasets=tuple(rows),
            note=_note(text, shares, absent, [name for name in rows if name not in shares]),
            rows=np.concatenate([np.zeros(0, dtype=np.int64), *chosen]),
            starts=np.cumsum(counts) - counts,
            counts=counts,
            edges=edges,
        )

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """(count,) int64 rows of the train split, with replacement, on the CPU as the generator is."""
        if not self.shares:
            return torch.randint(len(self.rows), (count,), generator=generator)
        dataset, place = torch.rand((2, count), generator=generator, dtype=torch.float64).numpy()
        which = np.searchsorted(self.edges, dataset, side="right")
        return torch.from_numpy(self.rows[self.starts[which] + (place * self.counts[which]).astype(np.int64)])


def _rows_of_datasets(store: PoseStore) -> dict[str, np.ndarray]:
    """Positions (n,) in the train split of every data set that has some, by name."""
    parts: dict[str, list[np.ndarray]] = {}
    start = 0
    for source in store.sources:
        if source.split == "train" and source.frames:
            parts.setdefault(dataset_of(source.name), []).append(np.arange(start, start + source.frames))
            start += source.frames
    return {name: np.concatenate(parts[name]) for name in sorted(parts)}


def _with_the_rest(named: dict[str, float], rows: dict[str, np.ndarray]) -> dict[str, float]:
    """Return the mixture with the data sets that it does not name in place of ``rest``, each by its number of poses."""
    others = {name: len(rows[name]) for name in rows if folded(name) not in map(folded, named)}
    if "rest" not in named or "rest" in rows or not others:
        return named
    share = named["rest"] / sum(others.values())
    return {name: weight for name, weight in named.items() if name != "rest"} | {
        name: share * count for name, count in others.items()
    }


def _note(text: str, shares: dict[str, float], absent: list[str], left_out: list[str]) -> str:
    if not shares:
        return "Every pose counts alike" + ("; the store has no data set of the paper's mixture" if absent else "")
    parts = [f"Of a batch {', '.join(f'{share:.1%} {name}' for name, share in shares.items())}"]
    if absent:
        parts.append(f"renormalised without {', '.join(absent)}, which the store has not")
    if left_out:
        parts.append(f"nothing of {', '.join(left_out)}")
    return "; ".join(parts)


@dataclass
class Batch:
    """poses (B,21,3) axis-angle as stored; target (B,21,3,3), the poses to rebuild; inputs (B,21,3,3), what the encoder
    reads; visible (B,21) bool or None; perturbed (B,21,3,3), ``inputs`` under joint noise, or None; generator, for the
    draws of the quantizer.
    """

    poses: Tensor
    target: Tensor
    inputs: Tensor
    visible: Tensor | None
    perturbed: Tensor | None
    generator: torch.Generator

    def part(self, number: int, count: int) -> Batch:
        """The ``number``-th of ``count`` equal parts, in order; ``generator`` stays common."""
        size = len(self.poses) // count
        rows = slice(number * size, (number + 1) * size)
        return Batch(
            self.poses[rows],
            self.target[rows],
            self.inputs[rows],
            None if self.visible is None else self.visible[rows],
            None if self.perturbed is None else self.perturbed[rows],
            self.generator,
        )


def draw_batch(poses: Tensor, mixture: Mixture, config: TokenizerConfig, step: int) -> Batch:
    """The whole batch of ``step`` from the training poses (N,21,3) axis-angle, by ``mixture``."""
    generator = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
    chosen = mixture.draw(config.optim.batch, generator)
    drawn = poses[chosen.to(poses.device)]
    visible = visible_joints(len(drawn), config.augment, generator)
    target = augment(axis_angle_to_matrix(drawn), config.augment, generator, visible)
    inputs = disturb(target, config.augment, generator)
    noise = config.loss.consistency_deg
    perturbed = perturb_rotations(inputs, noise, generator) if config.loss.consistency_weight else None
    return Batch(drawn, target, inputs, None if visible is None else visible.to(poses.device), perturbed, generator)
