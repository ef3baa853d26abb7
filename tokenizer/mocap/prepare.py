"""Walks mocap files into one pose store: in parallel, resumable, with every refusal counted and named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from glob import escape
from pathlib import Path
from typing import Literal

from ..engine.errors import UserError, fail
from ..engine.files.hdf5_writing import refuse_other
from ..engine.processes import available_cores, map_in_order
from .datasets import SPLITS, dataset_of, paper_split
from .drawn import add_drawn
from .files import MocapFile, find_files
from .journal import Journal
from .readers import SUFFIXES
from .sampling import PrepareOptions, ThinnedClip, key_and_size, purpose, sample_file
from .store import FORMAT, PoseStoreWriter
from .takes import draw_of, groups_of, near_equal, take_of

_CMU = "motion from the CMU Graphics Lab Motion Capture Database (mocap.cs.cmu.edu), funded by NSF EIA-0196217"
Progress = Callable[[Literal["read", "write"], int, int], None]


@dataclass
class DatasetReport:
    """One data set: clips, poses and seconds of motion kept per split; files that were broken, had no motion, or had
    the poses of an earlier file."""

    clips: Counter[str] = field(default_factory=Counter)
    poses: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    broken: int = 0
    skipped: int = 0
    duplicates: int = 0


@dataclass
class _Kept:
    """A clip in the store, in the order of the files; its split is decided when all are known."""

    file: MocapFile
    dataset: str
    poses: int
    fingerprint: str
    split: str = "train"


@dataclass
class PrepareReport:
    """What happened: by data set; frames read; files whose results an earlier run had left; and (file, reason) of
    everything left out; and the files of which something was assumed, by what;
    ``near``: (file, an earlier one whose motion is nearly equal, the split of both)."""

    datasets: dict[str, DatasetReport] = field(default_factory=dict)
    frames_read: int = 0
    resumed: int = 0
    broken: list[tuple[Path, str]] = field(default_factory=list)
    skipped: list[tuple[Path, str]] = field(default_factory=list)
    notes: dict[str, list[Path]] = field(default_factory=dict)
    near: list[tuple[Path, Path, str]] = field(default_factory=list)

    @property
    def total(self) -> DatasetReport:
        """All data sets as one."""
        reports = list(self.datasets.values())
        return DatasetReport(
            clips=sum((report.clips for report in reports), Counter()),
            poses=sum((report.poses for report in reports), Counter()),
            seconds=sum(report.seconds for report in reports),
            broken=sum(report.broken for report in reports),
            skipped=sum(report.skipped for report in reports),
            duplicates=sum(report.duplicates for report in reports),
        )

    def table(self) -> str:
        """Lines of text: clips, poses and hours of each data set, and what was left out of it."""
        splits = [split for split in SPLITS if self.total.clips[split]]
        rows = [["data set", "clips", *(f"{split} poses" for split in splits), "hours", "broken", "same", "no motion"]]
        for name, dataset in (*sorted(self.datasets.items()), ("all", self.total)):
            counts = (dataset.clips.total(), *(dataset.poses[split] for split in splits))
            left_out = (dataset.broken, dataset.duplicates, dataset.skipped)
            hours = f"{dataset.seconds / 3600:.2f}"
            rows.append([name, *(f"{count:,}" for count in counts), hours, *(f"{count:,}" for count in left_out)])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in rows)
        return "\n".join("  ".join(line) for line in lines)


def prepare(
    sources: list[Path],
    out: str | Path,
    options: PrepareOptions,
    *,
    command: str = "",
    workers: int | None = None,
    strict: bool = False,
    progress: Progress | None = None,
) -> PrepareReport:
    """Read every clip under ``sources`` and write the pose store ``out``; the same input gives the same digest.

    A broken file is left out and listed with its reason, or, with ``strict``, stops everything. A clip whose poses are
    those of an earlier one is skipped. Where no folder decides the split, the name of the take does, whatever other
    files there are, or the data set; takes that are nearly equal go into one split, see ``takes``. What is read is kept
    in ``out.unfinished`` until the store is whole: after a kill the same call reads only the rest.
    ``progress(stage, done, total)`` counts bytes of the files. Raise ``UserError`` if no poses remain, for a data set
    in ``trim_of`` that is not there, or while another process prepares the same store.

    ``options.test_share`` reserves whole takes of what would be train as test, by their names alone. Poses that are
    drawn, embedded or composed, come last, all to train on.
    """
    out = Path(out)
    refuse_other(out, FORMAT)
    files = find_files(sources)
    if not files:
        raise fail(
            "No poses found",
            got=f"no {', '.join(SUFFIXES)} file under {', '.join(map(str, sources))}",
            expected="motion of SMPL parameters (archives unpacked), BVH or AMC files",
        )
    present = sorted({dataset_of(file.name) for file in files})
    if absent := sorted(options.trim_of.keys() - {*present}):
        raise fail(
            "--trim names data sets that are not there", got=", ".join(absent), expected=f"some of {', '.join(present)}"
        )
    with Journal(out.with_name(f"{out.name}.unfinished"), purpose(options, strict)) as journal:
        _remove_orphans(out)
        keyed = [(file, *key_and_size(file, options)) for file in files]
        resumed = _read_the_rest(keyed, journal, options, workers, strict, progress)
        report = _write(keyed, journal, out, options, command, progress)
        report.resumed = resumed
        journal.discard()
    return report


def _remove_orphans(out: Path) -> None:
    """Half-written stores of processes that were killed: nobody else writes this one while its journal is ours."""
    for partial_store in out.parent.glob(f"{escape(out.name)}.*.partial"):
        with suppress(PermissionError):
            partial_store.unlink(missing_ok=True)


def _read_the_rest(
    keyed: list[tuple[MocapFile, str, int]],
    journal: Journal,
    options: PrepareOptions,
    workers: int | None,
    strict: bool,
    progress: Progress | None,
) -> int:
    """Read the files that are not in the journal into it; returns how many were."""
    unread = [(file, key, size) for file, key, size in keyed if key not in journal]
    total = sum(size for _, _, size in keyed)
    done = total - sum(size for _, _, size in unread)
    workers = max(1, min(workers or available_cores(), len(unread)))
    read = partial(sample_file, options=options)
    if progress is not None:
        progress("read", done, total)
    with closing(map_in_order(read, (file for file, _, _ in unread), workers)) as results:
        for (_, key, size), result in zip(unread, results, strict=True):
            if strict and result.broken:
                raise UserError(f"{result.broken} (--strict stops at the first broken file.)")
            result.keep(journal, key)
            done += size
            if progress is not None:
                progress("read", done, total)
    return len(keyed) - len(unread)


def _write(
    keyed: list[tuple[MocapFile, str, int]],
    journal: Journal,
    out: Path,
    options: PrepareOptions,
    command: str,
    progress: Progress | None,
) -> PrepareReport:
    """Put what the journal holds into the store, in the order of the files."""
    report, seen = PrepareReport(), set[str]()
    kept: list[_Kept] = []
    total, done = sum(size for _, _, size in keyed), 0
    with PoseStoreWriter(out, command) as writer:
        for file, key, size in keyed:
            result, dataset = ThinnedClip.from_journal(journal, key), dataset_of(file.name)
            about = report.datasets.setdefault(dataset, DatasetReport())
            report.frames_read += result.frames_read
            if result.broken:
                report.broken.append((file.path, result.broken))
                about.broken += 1
            elif result.skipped:
                report.skipped.append((file.path, result.skipped))
                about.skipped += 1
            elif result.digest in seen:
                report.skipped.append((file.path, "the same poses as an earlier file"))
                about.duplicates += 1
            else:
                seen.add(result.digest)
                for note in result.notes:
                    report.notes.setdefault(note, []).append(file.path)
                licence = f"{options.licence}; {_CMU}" if dataset == "CMU" else options.licence
                writer.add(file.name, "train", result.poses, result.betas, fps=result.fps, licence=licence)
                kept.append(_Kept(file, dataset, len(result.poses), result.fingerprint))
                about.seconds += len(result.poses) / result.fps if result.fps else 0.0
            done += size
            if progress is not None:
                progress("write", done, total)
        if not kept:
            journal.discard()
            reasons = "; ".join(reason for _, reason in report.broken[:3]) or "only files without motion"
            raise fail("No poses found", got=f"{len(keyed)} files, none usable: {reasons}")
        report.near = _split_by_takes(kept, options)
        for number, clip in enumerate(kept):
            writer.move(number, clip.split)
            report.datasets[clip.dataset].clips[clip.split] += 1
            report.datasets[clip.dataset].poses[clip.split] += clip.poses
        for name, count in add_drawn(writer, options.drawn, options.seed).items():
            about = report.datasets.setdefault(name, DatasetReport())
            about.clips["train"] += 1
            about.poses["train"] += count
    return report


def _split_by_takes(kept: list[_Kept], options: PrepareOptions) -> list[tuple[Path, Path, str]]:
    """Decide the split of every clip: by folder, by its take's name, or by data set; files of one take go together.

    Where folders part them, held-out splits win. Returns (file, the one that it is nearly equal to, their split).
    """
    by_clip = options.split == "by-clip"
    first: dict[str, int] = {}
    near_pairs = near_equal([clip.fingerprint for clip in kept])
    same_take = [
        (first.setdefault(take_of(clip.file.name), number), number)
        for number, clip in enumerate(kept)
        if by_clip and clip.file.split is None
    ]
    groups = groups_of(len(kept), near_pairs + same_take)
    decided: dict[int, str] = {}
    for clip, group in zip(kept, groups, strict=True):
        given_split = clip.file.split or ("" if by_clip else paper_split(clip.dataset))
        if given_split and decided.get(group, "train") == "train":
            decided[group] = given_split
    for clip, group in zip(kept, groups, strict=True):
        place = draw_of(take_of(kept[group].file.name))
        drawn_split = "val" if place < options.val_fraction else "train"
        clip.split = decided.get(group, drawn_split)
        if clip.split == "train" and place >= 1 - options.test_share:
            clip.split = "test"
    if by_clip and options.val_fraction:
        _leave_no_split_empty(kept, groups)
    return [
        (kept[b].file.path, kept[a].file.path, kept[b].split) for a, b in sorted(near_pairs, key=lambda pair: pair[1])
    ]


def _leave_no_split_empty(kept: list[_Kept], groups: list[int]) -> None:
    """A handful of takes may all have been drawn into one split; then the one nearest to the other goes there."""
    free_groups = sorted(
        set(groups) - {group for clip, group in zip(kept, groups, strict=True) if clip.file.split},
        key=lambda group: draw_of(take_of(kept[group].file.name)),
    )
    if len(free_groups) < 2:
        return
    for empty, nearest in (("val", free_groups[0]), ("train", free_groups[-1])):
        if not any(clip.split == empty for clip in kept):
            for clip, group in zip(kept, groups, strict=True):
                if group == nearest:
                    clip.split = empty
