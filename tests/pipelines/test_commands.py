"""Command lines: those the demo runs and those the README shows parse; help is quick and loads nothing heavy."""

from __future__ import annotations

import importlib
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from pipelines.demo import PROGRAMS
from pipelines.stages import PRESETS, Settings, stages
from tokenizer.engine.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "numpy", "scipy", "h5py", "cv2", "smplx")
READMES = ("README.md", "tokenizer/README.md", "regressor/README.md")


def parse(command: list[str]) -> None:
    """Parse a command line of ours without running it; raises click's error where it does not fit."""
    group = importlib.import_module(PROGRAMS[command[0]]).main
    with click.Context(group) as context:
        name, found, rest = group.resolve_command(context, command[1:])
        found.make_context(name, list(rest), parent=context)


def shown_commands(readme: str) -> list[str]:
    """Every command line in a README's shell blocks, comments cut, continued lines joined."""
    lines = []
    for language, block in re.findall(r"```(\w+)\n(.*?)```", (ROOT / readme).read_text(), flags=re.DOTALL):
        if language in ("bash", "sh", "console"):
            lines += [line.split("  #")[0].strip() for line in block.replace("\\\n", " ").splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def test_parsing_finds_mistakes():
    parse(["pose-tokenizer", "sample", "--out", "x.h5"])
    for wrong in (["sample"], ["sample", "--out", "x.h5", "--cuont", "5"], ["smaple"], ["train", "a", "b"]):
        with pytest.raises(click.UsageError):
            parse(["pose-tokenizer", *wrong])


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("choice", [{}, {"mocap": "a b"}, {"photo": "me.jpg"}, {"photo": "me.jpg", "box": "1,2,3,4"}])
def test_every_stage_runs_commands_that_exist(preset, choice):
    for stage in stages(Settings(Path("runs/x"), preset, **choice)):
        for command, line in zip(stage.commands, stage.command_lines(), strict=True):
            parse(list(command))
            assert shlex.split(line) == list(command)
        if stage.run is not None:
            parse([*stage.commands[-1], "--resume"])


def test_stages_read_only_what_earlier_ones_made():
    made: set[Path] = set()
    for stage in stages(Settings(Path("runs/x"))):
        assert set(stage.needs) <= made
        made.add(stage.makes)


def test_unknown_preset_is_told():
    with pytest.raises(UserError, match="demo, smoke, varied"):
        stages(Settings(Path("runs/x"), "demoo"))


@pytest.mark.parametrize("readme", READMES)
def test_readme_commands_parse(readme):
    seen = set()
    for line in shown_commands(readme):
        words = [word for word in shlex.split(line) if not re.fullmatch(r"[A-Z_]+=.*", word)]
        program = words[0].removeprefix(".venv/bin/")
        seen.add(program)
        if program in PROGRAMS:
            parse([program, *words[1:]])
        elif program == "torchrun":
            module = words.index("-m") + 1
            parse([f"pose-{words[module]}", *words[module + 1 :]])
        elif program == "make":
            done = (
                subprocess.run(
                    ["make", "-n", *shlex.split(line)[1:]], cwd=ROOT, capture_output=True, text=True, check=False
                )
                if shutil.which("make")
                else None
            )
            assert done is None or done.returncode == 0, f"{line}\n{done.stderr}"
        else:
            assert program in ("git", "cd", "pip"), line
    expected = {
        "README.md": {"make", "pose-tokenizer", "pose-regressor", "pose-pipeline"},
        "tokenizer/README.md": {"torchrun", "pose-tokenizer"},
        "regressor/README.md": {"torchrun", "pose-tokenizer", "pose-regressor", "pose-pipeline"},
    }
    assert expected[readme] <= seen


def test_the_regressors_readme_tells_of_every_format_protocol_and_preset():
    from regressor.config import PRESETS as SIZES
    from regressor.datasets.readers import FORMATS
    from regressor.evaluation.protocols import PROTOCOLS

    text = (ROOT / "regressor" / "README.md").read_text()
    commands = "\n".join(shown_commands("regressor/README.md"))
    for name in FORMATS:
        assert f"prepare {name} " in commands, name
    for name in PROTOCOLS:
        assert f"--protocol {name} " in commands or name == "synthetic", name
    for name in SIZES:
        assert f"| `{name}` |" in text or name == "small-6d", name


@pytest.mark.parametrize("readme", READMES)
def test_readme_is_short_and_its_links_lead_somewhere(readme):
    text = (ROOT / readme).read_text()
    assert len(text.splitlines()) < 150
    links = re.findall(r"\]\(([^)#]+)\)", text)
    assert [link for link in links if "://" not in link and not (ROOT / readme).parent.joinpath(link).exists()] == []


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_is_quick_and_loads_nothing_heavy(program):
    resource = pytest.importorskip("resource")
    code = (
        f"import sys; from {PROGRAMS[program]} import main\n"
        "try: main(['--help'])\n"
        f"finally: print('loaded:', sorted(set(sys.modules) & set({HEAVY!r})))"
    )
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert "Commands:" in done.stdout
    assert "loaded: []" in done.stdout
    # Time on the processor, so that a busy machine does not fail the test.
    assert min(seconds) < 0.5


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_is_whole_and_plain(program):
    group = importlib.import_module(PROGRAMS[program]).main
    with click.Context(group) as context:
        listed = group.get_help(context)
    assert listed.count("...") == 1 and "Begin with" in listed, "no sentence is cut; a newcomer is told where to begin"
    for name, command in group.commands.items():
        text = f"{command.help} {' '.join(option.help or '' for option in command.params if hasattr(option, 'help'))}"
        assert not re.search(r"\b[Jj]udge|exactly one|\blanes?\b|stands in", text), name
        silent = [
            option.name
            for option in command.params
            if isinstance(option, click.Option) and len((option.help or "").split()) < 2
        ]
        assert silent == [], name


@pytest.mark.parametrize(
    "command",
    [
        "pose-tokenizer train poses.h5 --run run --minutes=",
        "pose-regressor train crops.h5 --tokenizer tok.h5 --run run --minutes=",
        "pose-regressor finetune mine.json --regressor r.pt --tokenizer tok.h5 --run run --minutes=",
        "pose-pipeline bench-tokenizer --minutes=",
        "pose-regressor synthesize poses.h5 --out crops.h5 --train=",
        "pose-regressor synthesize poses.h5 --out crops.h5 --size=",
    ],
)
@pytest.mark.parametrize("number", ["0", "-1"])
def test_nothing_is_no_number_of_minutes_images_or_pixels(command, number):
    parse(f"{command}16".split())
    with pytest.raises(click.BadParameter, match="not in the range"):
        parse(f"{command}{number}".split())
