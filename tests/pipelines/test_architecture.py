"""The house keeps its shape: arrows between packages, top-level entries, file sizes, style, text in UTF-8."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("tokenizer", "regressor", "pipelines")
FORBIDDEN = {"tokenizer": {"regressor", "pipelines"}, "regressor": {"pipelines"}, "pipelines": set()}
OPEN_TO_REGRESSOR = ("tokenizer.body", "tokenizer.engine", "tokenizer.mocap.store")
"""Beside its public names, what stage 2 may use of stage 1; the pose store is the file they share."""
TOP_LEVEL = {
    *PACKAGES,
    "tests",
    ".ci",
    ".gitignore",
    "CHANGELOG.md",
    "LICENSE",
    "Makefile",
    "NOTICE",
    "README.md",
    "constraints.txt",
    "pyproject.toml",
    "setup.cfg",
}

TEXT_METHODS = {"read_text": 0, "write_text": 1, "open": 1}
"""Ways to a text file, and where ``encoding`` stands among the arguments when it has no name."""


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imported_modules(source: str, module: str) -> set[str]:
    """Absolute names of everything that ``source``, the module of that dotted name, imports."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = module.split(".")[: -node.level] if node.level else []
            found.add(".".join([*base, *(node.module or "").split(".")]).strip("."))
    return found


def modules(package: str) -> dict[str, set[str]]:
    return {
        str(path.relative_to(ROOT)): imported_modules(
            path.read_text(), ".".join(path.relative_to(ROOT).with_suffix("").parts)
        )
        for path in sources(package)
    }


def test_relative_imports_are_resolved():
    assert imported_modules("from ..geometry.camera import x\nimport torch", "regressor.datasets.cropping") == {
        "regressor.geometry.camera",
        "torch",
    }
    assert imported_modules("from . import sheets", "pipelines.report") == {"pipelines"}


@pytest.mark.parametrize("package", PACKAGES)
def test_no_import_points_the_wrong_way(package):
    wrong = {
        file: sorted(name for name in names if name.split(".")[0] in FORBIDDEN[package])
        for file, names in modules(package).items()
    }
    assert {file: names for file, names in wrong.items() if names} == {}


def test_the_regressor_uses_only_what_the_tokenizer_offers():
    wrong = {}
    for file, names in modules("regressor").items():
        inside = {name for name in names if name.startswith("tokenizer.")}
        closed = sorted(name for name in inside if not name.startswith(OPEN_TO_REGRESSOR))
        if closed:
            wrong[file] = closed
    assert wrong == {}


def test_nothing_new_at_the_top():
    ignored = [line.rstrip("/") for line in (ROOT / ".gitignore").read_text().splitlines() if line]
    entries = {path.name for path in ROOT.iterdir() if path.name != ".git"}
    assert {name for name in entries - TOP_LEVEL if not any(fnmatch(name, pattern) for pattern in ignored)} == set()


@pytest.mark.parametrize("package", PACKAGES)
def test_files_stay_short_and_named_after_their_idea(package):
    long = {path.name: count for path in sources(package) if (count := len(path.read_text().splitlines())) > 500}
    assert long == {}
    assert not [path for path in sources(package) if path.name in ("utils.py", "helpers.py", "misc.py")]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_thing_says_what_it_is(package):
    silent = []
    for path in sources(package):
        tree = ast.parse(path.read_text())
        things = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)]
        silent += [
            f"{path.relative_to(ROOT)}: {node.name}"
            for node in things
            if node in tree.body and not node.name.startswith("_") and not ast.get_docstring(node)
        ]
        if tree.body and not ast.get_docstring(tree):
            silent.append(str(path.relative_to(ROOT)))
    assert silent == []


def test_the_linter_agrees():
    ruff = shutil.which("ruff", path=str(Path(sys.executable).parent))
    if ruff is None:
        pytest.skip("ruff is not installed beside this Python")
    done = subprocess.run([ruff, "check", "--quiet", "."], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def opened_in_the_systems_encoding(tree: ast.AST) -> list[int]:
    """Lines that open a text file without saying its encoding."""
    lines = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        builtin = isinstance(node.func, ast.Name) and node.func.id == "open"
        if not builtin and not (isinstance(node.func, ast.Attribute) and node.func.attr in TEXT_METHODS):
            continue
        name = "open" if builtin else node.func.attr
        given = [argument.value for argument in node.args if isinstance(argument, ast.Constant)]
        mode = next((value for value in given if isinstance(value, str) and set(value) <= set("rwaxbt+")), None)
        if name == "open" and (mode is None or "b" in mode):
            continue  # of something else (RunFolder, tarfile), or of bytes
        unnamed = name == "open" or len(node.args) <= TEXT_METHODS[name]
        if unnamed and not any(word.arg == "encoding" for word in node.keywords):
            lines.append(node.lineno)
    return lines


def test_an_unnamed_encoding_is_found():
    found = {
        "path.read_text()": True,
        "path.write_text(text)": True,
        "path.open('a')": True,
        "open(path, 'w')": True,
        "path.read_text('utf-8')": False,
        "path.read_text(encoding='utf-8')": False,
        "path.open('wb')": False,
        "RunFolder.open(path)": False,
        "path.open('w', encoding='utf-8')": False,
    }
    assert {line: bool(opened_in_the_systems_encoding(ast.parse(line))) for line in found} == found


@pytest.mark.parametrize("package", PACKAGES)
def test_text_files_are_utf_8_whatever_the_system(package):
    found = {
        str(path.relative_to(ROOT)): lines
        for path in sorted((ROOT / package).rglob("*.py"))
        if (lines := opened_in_the_systems_encoding(ast.parse(path.read_text(encoding="utf-8"))))
    }
    assert found == {}
