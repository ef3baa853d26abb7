"""The house keeps its shape: arrows between packages, top-level entries, file sizes, style, text in UTF-8."""

from __future__ import annotations

import ast
import functools
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
ROOMS = {
    "tokenizer": "engine config body mocap network artifact frozen evaluation training codec reference report commands",
    "regressor": "config geometry sample network datasets losses checkpoints export evaluation training people"
    " commands",
    "tokenizer.engine": "errors constants shares files config distributed processes training cli_options pages",
    "pipelines": "stages history pictures overview descent demo weights benchmarks drift report cli_bench cli",
}
"""The rooms of each package, from the ground up: a room imports those before it."""
TOP_LEVEL = {
    *PACKAGES,
    "tests",
    ".ci",
    ".gitignore",
    ".pre-commit-config.yaml",
    "CITATION.cff",
    "CONTRIBUTING.md",
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
    modules = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = module.split(".")[: -node.level] if node.level else []
            modules.add(".".join([*base, *(node.module or "").split(".")]).strip("."))
    return modules


def modules(package: str) -> dict[str, set[str]]:
    return {
        str(path.relative_to(ROOT)): imported_modules(
            path.read_text(), ".".join(path.relative_to(ROOT).with_suffix("").parts)
        )
        for path in sources(package)
    }


@functools.cache
def all_modules() -> dict[str, Path]:
    """Every module of the three packages by its dotted name."""
    paths = [path for package in PACKAGES for path in sources(package)]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}


@functools.cache
def graph(package: str) -> dict[str, set[str]]:
    """Which modules of ours each module of ``package`` imports, late imports included."""
    names = all_modules()
    edges: dict[str, set[str]] = {}
    for name, path in names.items():
        if name.split(".")[0] != package:
            continue
        inside = name if path.name == "__init__.py" else name.rpartition(".")[0]
        edges[name] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                edges[name] |= {alias.name for alias in node.names if alias.name in names} - {name}
            if not isinstance(node, ast.ImportFrom):
                continue
            base = inside.split(".")[: len(inside.split(".")) - node.level + 1] if node.level else []
            full = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                target = f"{full}.{alias.name}" if f"{full}.{alias.name}" in names else full
                if target in names and target != name:
                    edges[name].add(target)
    return edges


def circle(edges: dict[str, set[str]]) -> list[str]:
    """The first circle of imports found, as a path that ends where it begins; empty where there is none."""
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return []
        for target in sorted(edges.get(name, ())):
            if target.count(".") and (closed := visit(target, [*path, name])):
                return closed
        done.add(name)
        return []

    return next((closed for name in edges if (closed := visit(name, []))), [])


def room_arrows(edges: dict[str, set[str]], house: str) -> set[tuple[str, str]]:
    """Pairs of rooms of ``house`` of which the first imports the second."""
    depth = house.count(".") + 1

    def room(name: str) -> str:
        return name.split(".")[depth] if name.startswith(f"{house}.") else ""

    pairs = {(room(name), room(target)) for name, targets in edges.items() for target in targets}
    return {(one, other) for one, other in pairs if one and other and one != other}


def floors(arrows: set[tuple[str, str]]) -> int:
    """The number of rooms on the longest way down."""
    below: dict[str, set[str]] = {}
    for one, other in arrows:
        below.setdefault(one, set()).add(other)

    @functools.cache
    def height(room: str) -> int:
        return 1 + max((height(other) for other in below.get(room, ())), default=0)

    return max(map(height, below))


def test_circles_and_arrows_are_found():
    edges = {"p.a.x": {"p.b.y"}, "p.b.y": {"p.c"}, "p.c": {"p.a.x"}}
    assert circle(edges) == ["p.a.x", "p.b.y", "p.c", "p.a.x"]
    assert circle({"p.a.x": {"p.b.y"}, "p.b.y": {"p.c"}, "p.c": set()}) == []
    assert room_arrows(edges, "p") == {("a", "b"), ("b", "c"), ("c", "a")}
    assert floors({("a", "b"), ("b", "c"), ("a", "c")}) == 3


@pytest.mark.parametrize("package", PACKAGES)
def test_no_circle_of_imports(package):
    assert circle(graph(package)) == []


@pytest.mark.parametrize("house", ROOMS)
def test_arrows_point_down(house):
    order = ROOMS[house].split()
    arrows = room_arrows(graph(house.partition(".")[0]), house)
    assert {pair for pair in arrows if set(pair) <= set(order) and order.index(pair[0]) < order.index(pair[1])} == set()


def test_rooms_of_the_regressor_are_few_and_flat():
    arrows = room_arrows(graph("regressor"), "regressor")
    assert len(list((ROOT / "regressor").glob("*.py"))) <= 6
    assert len(arrows) <= 60 and floors(arrows) <= 8


@pytest.mark.parametrize("house", ROOMS)
def test_every_room_has_a_place(house):
    depth = house.count(".") + 1
    rooms = {name.split(".")[depth] for name in all_modules() if name.startswith(f"{house}.")} - {"__main__"}
    assert rooms == set(ROOMS[house].split())


def test_no_crumbs():
    """Files of less than 60 lines with one importer belong to that."""
    importers: dict[str, set[str]] = {}
    for package in PACKAGES:
        for name, targets in graph(package).items():
            for target in targets:
                importers.setdefault(target, set()).add(name)
    crumbs = {}
    for name, path in all_modules().items():
        short = len(path.read_text(encoding="utf-8").splitlines()) < 60
        if short and not path.name.startswith("__") and len(importers.get(name, ())) == 1:
            crumbs[name] = importers[name]
    assert crumbs == {}


def test_tests_mirror_the_packages():
    """At least nine of ten modules of 60 lines or more have a test file of their name in the mirrored folder."""
    missing, count = [], 0
    for package in PACKAGES:
        for path in sources(package):
            if path.name.startswith("__") or len(path.read_text(encoding="utf-8").splitlines()) < 60:
                continue
            count += 1
            test = ROOT / "tests" / path.relative_to(ROOT).with_name(f"test_{path.name}")
            if not test.exists():
                missing.append(str(test.relative_to(ROOT)))
    assert len(missing) <= count / 10, missing


def test_format_exceptions_are_few():
    def count(folder: str) -> int:
        mark = "fmt: " + "skip"
        return sum(path.read_text(encoding="utf-8").count(mark) for path in (ROOT / folder).rglob("*.py"))

    assert sum(map(count, PACKAGES)) <= 10 and count("tests") <= 40


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
    verdicts = {
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
    assert {line: bool(opened_in_the_systems_encoding(ast.parse(line))) for line in verdicts} == verdicts


@pytest.mark.parametrize("package", PACKAGES)
def test_text_files_are_utf_8_whatever_the_system(package):
    unnamed = {
        str(path.relative_to(ROOT)): lines
        for path in sorted((ROOT / package).rglob("*.py"))
        if (lines := opened_in_the_systems_encoding(ast.parse(path.read_text(encoding="utf-8"))))
    }
    assert unnamed == {}
