"""Data sets that are trained on together, by name, and the share of each in a batch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tokenizer.engine.errors import fail
from tokenizer.engine.files.text_files import read_text
from tokenizer.engine.shares import folded, parse_shares

from ..sample import Sample, join
from .crop_dataset import CropDataset, open_crops
from .remote import Cache, is_url, last_name
from .shards import INDEX, open_shards

MIX_ALL = {
    "h36m-train": 0.1,
    "mpii-train": 0.1,
    "coco-train-2014-pruned": 0.1,
    "coco-train-2014-vitpose-pruned": 0.1,
    "mpi-inf-train-pruned": 0.02,
    "ava-train-midframes-1fps-vitpose": 0.19,
    "aic-train-vitpose": 0.19,
    "insta-train-vitpose-replicate": 0.2,
}
"""The mixture of HMR2.0 (Goel et al., ICCV 2023), by the names of the folders that its training data come in."""
_DEEPEST, _MOST_DATA, _LONGEST_LIST = 8, 10_000, 1 << 22
MIX_TOKENHMR = {
    "bedlam": 0.18,
    "ava-train-midframes-1fps-vitpose": 0.13,
    "aic-train-vitpose": 0.13,
    "insta-train-vitpose-replicate": 0.12,
    "mpi-inf-train-pruned": 0.04,
    "h36m-train": 0.1,
    "mpii-train": 0.1,
    "coco-train-2014-pruned": 0.1,
    "coco-train-2014-vitpose-pruned": 0.1,
}
"""The mixture of TokenHMR (Dwivedi et al., CVPR 2024): HMR2.0's data and BEDLAM. The first five weights are its own.
The last four are those of ``mix_all``: no public text that we found gives them, and they are what the five leave of 1.
"""
NAMED = {"mix_all": MIX_ALL, "mix_tokenhmr": MIX_TOKENHMR}


@dataclass(frozen=True, eq=False)
class Mixture:
    """``stores`` by name; ``shares``: of a batch, by name, of those that are trained on; ``note``: that in words."""

    stores: dict[str, CropDataset]
    shares: dict[str, float]
    note: str

    @classmethod
    def weighted(cls, stores: dict[str, CropDataset], mix: str = "") -> Mixture:
        """Return ``stores`` by the weights in ``mix``, or by their numbers of training samples.

        Raise ``UserError`` for a mixture of other data sets.
        """
        counts = {name: store.count("train") for name, store in stores.items() if "train" in store.splits}
        return cls(stores, *_shares({name: count for name, count in counts.items() if count}, mix))

    @classmethod
    def of(cls, crops: CropDataset | Mixture) -> Mixture:
        """Return crops as a mixture of one."""
        return crops if isinstance(crops, Mixture) else cls.weighted({Path(str(crops.path)).stem: crops})

    def at_size(self, size: int) -> Mixture:
        """Return the same at ``size`` pixels, see ``CropDataset.at_size``."""
        return replace(self, stores={name: store.at_size(size) for name, store in self.stores.items()})

    def as_predicted(self, aspect: float) -> Mixture:
        """Return the same in the crops of prediction, see ``CropDataset.as_predicted``."""
        return replace(self, stores={name: store.as_predicted(aspect) for name, store in self.stores.items()})

    @property
    def digest(self) -> str:
        """Return the digest of the content and the shares: the store's own where there is only one."""
        parts = [(name, store.digest, self.shares.get(name, 0.0)) for name, store in self.stores.items()]
        return parts[0][1] if len(parts) == 1 else hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def check_digest(self, digest: str) -> None:
        """Raise ``UserError`` unless the digest is ``digest``, that of a run's data, and the content agrees with it."""
        if self.digest != digest:
            raise fail("This run was trained on other crops", got=self.digest[:12], expected=digest[:12])
        for store in self.stores.values():
            store.check()

    @property
    def attributes(self) -> dict[str, Any]:
        """Return how the crops were made: one store's own attributes, or those of several by name.

        ``domain`` is added where all of them have the same.
        """
        by_name = {name: store.attributes for name, store in self.stores.items()}
        if len(by_name) == 1:
            return next(iter(by_name.values()))
        domains = {attributes.get("domain") for attributes in by_name.values()}
        common = {"domain": domains.pop()} if len(domains) == 1 and None not in domains else {}
        return {**common, "mixture": self.shares, "data_sets": by_name}

    @property
    def domains(self) -> set[str]:
        """Return the domains of the synthetic people among them."""
        return {str(store.attributes["domain"]) for store in self.stores.values() if store.attributes.get("domain")}

    @property
    def remote(self) -> bool:
        """Return whether any of it comes from a URL."""
        return any(store.remote for store in self.stores.values())

    def count(self, split: str) -> int:
        """Return how many samples a split holds, over all data sets that have it."""
        return sum(store.count(split) for store in self.stores.values() if split in store.splits)

    def some(self, split: str, at_most: int) -> Sample:
        """Return ``at_most`` samples of a split, evenly spaced over all of it, data set after data set."""
        owners = [(store, store.count(split)) for store in self.stores.values() if split in store.splits]
        total = sum(count for _, count in owners)
        chosen = np.arange(total) if total <= at_most else np.linspace(0, total - 1, at_most).round().astype(np.int64)
        parts, first = [], 0
        for store, count in owners:
            rows = chosen[(chosen >= first) & (chosen < first + count)] - first
            if len(rows):
                parts.append(store.sample(rows, split))
            first += count
        return join(parts)


@dataclass(frozen=True)
class AuxiliaryData:
    """A data set of known people, mixed into the training on others: its name, its crops, its ``share`` of a batch."""

    name: str
    store: CropDataset
    share: float


def open_auxiliary(texts: Sequence[str]) -> list[AuxiliaryData]:
    """The train splits of what ``PATH=SHARE`` name, crop stores and folders of shards.

    Raises ``UserError`` for a text of another form, shares that leave nothing to others, and what is no such data.
    """
    shares = parse_shares(",".join(texts), what="What is mixed in", most=1.0)
    if sum(shares.values()) >= 1:
        raise fail(
            "What is mixed in leaves nothing of a batch to others",
            got=f"{sum(shares.values()):g} in all",
            expected="less than 1",
        )
    auxiliary = []
    for text, share in shares.items():
        store = open_crops(text).only("train")
        if not store.count("train"):
            raise fail(f"{text} has no training samples to mix in")
        auxiliary.append(AuxiliaryData(Path(text).name if Path(text).is_dir() else Path(text).stem, store, share))
    return auxiliary


def mix_auxiliary(store: CropDataset, others: Sequence[AuxiliaryData]) -> Mixture:
    """Return ``store`` mixed with ``others`` for training; validation uses ``store`` alone.

    Raises ``UserError`` for two data sets of one name.
    """
    alone = Mixture.of(store)
    if not others:
        return alone
    (own,) = alone.stores
    names = [own, *(auxiliary.name for auxiliary in others)]
    twice = [name for number, name in enumerate(names) if folded(name) in map(folded, names[:number])]
    if twice:
        raise fail("Two data sets have one name", got=twice[0], next_step="Rename one of them")
    shares = [1 - sum(auxiliary.share for auxiliary in others), *(auxiliary.share for auxiliary in others)]
    mix = ",".join(f"{name}={share!r}" for name, share in zip(names, shares, strict=True))
    return Mixture.weighted({own: store, **{auxiliary.name: auxiliary.store for auxiliary in others}}, mix)


def _shares(counts: dict[str, int], mix: str) -> tuple[dict[str, float], str]:
    if not mix:
        total = sum(counts.values())
        shares = {name: count / total for name, count in counts.items()}
        return shares, "every sample counts alike" if len(counts) > 1 else ""
    spelled = {folded(name): name for name in counts}
    named = parse_shares(mix, folded, named=NAMED)
    present = {spelled[name]: weight for name, weight in named.items() if name in spelled}
    named_mixtures = [NAMED[part.strip()] for part in mix.split(",") if part.strip() in NAMED]
    published = {folded(name) for mixture in (MIX_ALL, *named_mixtures) for name in mixture}
    absent = [name for name in named if name not in spelled]
    wrong = [name for name in absent if name not in published]
    if wrong or not present:
        raise fail(
            "The mixture names data sets that are not there, or have no training samples",
            got=", ".join(wrong or absent),
            expected=f"some of {', '.join(counts)}",
            next_step="Data sets are called as their folders are, or by NAME=PATH",
        )
    shares = {name: weight / sum(present.values()) for name, weight in present.items()}
    parts = [f"of a batch {', '.join(f'{share:.1%} {name}' for name, share in shares.items())}"]
    if absent:
        parts.append(f"renormalised without {', '.join(absent)}, which are not there")
    if left_out := [name for name in counts if name not in shares]:
        parts.append(f"nothing of {', '.join(left_out)}")
    return shares, "; ".join(parts)


def open_mixture(
    paths: Sequence[str],
    mix: str = "",
    cache: Cache | None = None,
    open_local: Callable[[str], CropDataset] = open_crops,
) -> Mixture:
    """Open data sets to train on together: crop stores, folders of shards, folders of such folders, URLs of folders of
    shards (with a ``cache``), or text files that list any of these, one a line. ``NAME=`` before one names it.
    ``open_local`` opens what is on this machine.

    Raises ``UserError`` for what is none of these, for a mixture of other data sets, for two of one name.
    """
    stores: dict[str, CropDataset] = {}
    for name, path in _found(paths):
        if name in stores:
            raise fail("Two data sets have one name", got=name, next_step="Name one of them: other=PATH")
        stores[name] = open_shards(path, cache) if is_url(path) else open_local(path)
    return Mixture.weighted(stores, mix)


def _found(paths: Sequence[str], lists: tuple[Path, ...] = ()) -> list[tuple[str, str]]:
    """Names and places of what ``paths`` name, themselves lines of the innermost of ``lists``."""
    named_paths: list[tuple[str, str]] = []
    for text in paths:
        name, sign, target = text.partition("=")
        named, path = (name, target) if sign and not is_url(text) and not Path(text).exists() else ("", text)
        place = Path(path)
        if is_url(path):
            named_paths.append((named or last_name(path), path))
        elif place.suffix == ".txt" and place.is_file():
            if place.resolve() in lists:
                raise fail(
                    f"The list {place} names itself",
                    got=" in ".join(map(str, (place.resolve(), *lists[::-1]))),
                    next_step="Take that line out",
                )
            if len(lists) >= _DEEPEST:
                raise fail("Lists name lists that name lists", got=f"{_DEEPEST} of them", expected="a list of data")
            named_paths += _found(_listed(place), (*lists, place.resolve()))
        elif place.is_dir() and not (place / INDEX).is_file() and (inner := sorted(place.glob(f"*/{INDEX}"))):
            named_paths += [(index.parent.name, str(index.parent)) for index in inner]
        else:
            named_paths.append((named or (place.name if place.is_dir() else place.stem), path))
        if len(named_paths) > _MOST_DATA:
            raise fail(
                "Far too many data sets are named",
                got=f"more than {_MOST_DATA:,}",
                next_step="Lists that name one list many times multiply",
            )
    return named_paths


def _listed(path: Path) -> list[str]:
    """The lines of a text file, comments behind # left out."""
    if (size := path.stat().st_size) > _LONGEST_LIST:
        raise fail(f"{path} is no list", got=f"{size:,} bytes", expected="a text file with a path a line")
    try:
        lines = read_text(path).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise fail(f"Cannot read the list {path}", got=error, expected="a text file with a path a line") from None
    return [text for line in lines if (text := line.partition("#")[0].strip())]
