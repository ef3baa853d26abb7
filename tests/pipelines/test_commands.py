"""Command lines: those the demo runs and those the README shows parse; help is quick and loads nothing heavy."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import click
import pytest
from command_lines import parse

from pipelines.demo import PROGRAMS

ROOT = Path(__file__).resolve().parents[2]
READMES = ("README.md", "tokenizer/README.md", "regressor/README.md")


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
