"""Model files in the user's cache: what is taken from which file, and what is refused."""

from __future__ import annotations

import hashlib
import io
import subprocess
import tarfile
import zipfile

import pytest

from regressor.people.detection import model_files
from regressor.people.detection.model_files import (
    ModelFile,
    install_models,
    installed_models,
    is_installed,
    model_path,
    read_model,
    remove_models,
)
from tokenizer.engine.errors import UserError

PUBLISHED = dict(model_files.MODEL_FILES)
CONTENT = {"detector": b"d" * 3000, "full": b"f" * 500, "heavy": b"h" * 7000}
NAMES = {
    "detector": "pose_detection.tflite",
    "full": "pose_landmark_full.tflite",
    "heavy": "pose_landmark_heavy.tflite",
}


@pytest.fixture(autouse=True)
def small_models(monkeypatch, tmp_path):
    """Models of a few bytes, and an empty cache."""
    files = {
        name: ModelFile(NAMES[name], len(data), hashlib.sha256(data).hexdigest()) for name, data in CONTENT.items()
    }
    monkeypatch.setattr(model_files, "MODEL_FILES", files)
    monkeypatch.setenv("POSE_TOKEN_HMR_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def nobody_downloads(monkeypatch):
    monkeypatch.setattr(model_files, "_run", lambda *_: pytest.fail("something is downloaded"))
    monkeypatch.setattr(model_files.requests, "get", lambda *_, **__: pytest.fail("something is downloaded"))


def wheel(path, **entries):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mediapipe/__init__.py", "raise SystemExit('it is run')")
        for name, data in entries.items():
            archive.writestr(f"mediapipe/modules/{NAMES.get(name, name)}", data)
    return path


def tgz(path, **entries):
    with tarfile.open(path, "w:gz") as archive:
        for name, data in entries.items():
            member = tarfile.TarInfo(f"package/{NAMES.get(name, name)}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def some(*names):
    return {name: CONTENT[name] for name in names}


def test_the_published_models_are_known():
    assert {name: file.size for name, file in PUBLISHED.items()} == {
        "detector": 2_959_046,
        "full": 6_440_512,
        "heavy": 27_709_200,
    }
    assert {name: file.file_name for name, file in PUBLISHED.items()} == NAMES
    assert {file.digest[:8] for file in PUBLISHED.values()} == {"9ba9dd3d", "e9a5c5cb", "59e42d71"}


@pytest.mark.usefixtures("nobody_downloads")
def test_models_come_out_of_a_wheel_a_tgz_and_single_files(tmp_path):
    assert not is_installed() and installed_models() == []
    done = install_models([wheel(tmp_path / "a.whl", **some("detector", "full"))])
    assert done.installed == ["detector", "full"] and done.present == [] and is_installed()
    assert read_model("full") == CONTENT["full"]
    (tmp_path / "any name").write_bytes(CONTENT["heavy"])
    assert install_models([tmp_path / "any name"]).installed == ["heavy"]
    assert len(remove_models()) == 3 and not is_installed() and remove_models() == []
    both = [wheel(tmp_path / "a.whl", **some("detector")), tgz(tmp_path / "b.tgz", **some("full", "heavy"))]
    assert install_models(both).installed == ["detector", "full", "heavy"]
    assert install_models(both).present == ["detector", "full", "heavy"]


@pytest.mark.usefixtures("nobody_downloads")
def test_a_folder_is_searched(tmp_path):
    folder = tmp_path / "downloads"
    folder.mkdir()
    wheel(folder / "a.whl", **some("detector", "full"))
    (folder / "notes.txt").write_text("nothing of ours")
    tgz(folder / "b.tgz", **some("heavy"))
    assert install_models([folder]).installed == ["detector", "full", "heavy"]


def test_without_all_models_the_message_says_what_is_there_and_how_to_go_on(tmp_path):
    with pytest.raises(
        UserError, match=r"not complete; got pose_landmark_full.tflite; .*npm pack .*--from FILE"
    ) as error:
        install_models([tgz(tmp_path / "b.tgz", **some("full"))])
    assert "pip download --no-deps" in str(error.value) and "mediapipe==0.10.21" in str(error.value)
    assert installed_models() == ["full"], "and the next file adds to it"


def test_a_missing_a_damaged_and_another_model_are_one_message_with_the_command(tmp_path):
    with pytest.raises(UserError, match=r"No detector at .*; got no such file\. Run `pose-regressor install-detector`"):
        read_model("heavy")
    install_models([wheel(tmp_path / "a.whl", **CONTENT)])
    path = model_path("heavy")
    path.write_bytes(CONTENT["heavy"][:-1])
    with pytest.raises(UserError, match="damaged, or of another version; got 6,999 bytes; expected 7,000 bytes"):
        read_model("heavy")
    path.write_bytes(b"x" + CONTENT["heavy"][1:])
    with pytest.raises(
        UserError, match=r"another content of the same size.*Run `pose-regressor install-detector` again"
    ):
        read_model("heavy")
    done = install_models([wheel(tmp_path / "a.whl", **CONTENT)])
    assert done.installed == ["heavy"] and done.present == ["detector", "full"], "and is mended"
    assert read_model("heavy") == CONTENT["heavy"]


def test_another_version_of_a_model_is_refused(tmp_path):
    other = b"x" * len(CONTENT["full"])
    for path in (wheel(tmp_path / "a.whl", full=other), tgz(tmp_path / "b.tgz", full=other)):
        with pytest.raises(UserError, match=r"pose_landmark_full.tflite in .* is another version of the model"):
            install_models([path])
    (tmp_path / "pose.tflite").write_bytes(b"TFL3")
    with pytest.raises(UserError, match=r"another version of the model; got 4 bytes"):
        install_models([tmp_path / "pose.tflite"])
    assert installed_models() == []


def test_what_holds_no_model_is_said(tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff")
    (tmp_path / "empty").mkdir()
    newer = wheel(tmp_path / "mediapipe-1.whl", **{"pose_landmarker.task": b"x"})
    for source in (tmp_path / "photo.jpg", tmp_path / "empty", newer):
        with pytest.raises(UserError, match=r"No model of the detector in .*expected pose_detection.tflite"):
            install_models([source])


def test_damaged_archives_are_one_message(tmp_path):
    whole = wheel(tmp_path / "a.whl", **CONTENT)
    data = bytearray(whole.read_bytes())
    place = data.index(b"pose_landmark_full.tflite") + 30
    data[place : place + 3] = b"\xff\xff\xff"
    whole.write_bytes(data)
    cut = tgz(tmp_path / "b.tgz", **CONTENT, filler=bytes(range(256)) * 2000)
    cut.write_bytes(cut.read_bytes()[:200])
    for path in (whole, cut):
        with pytest.raises(UserError, match=r"Cannot read|No model of the detector"):
            install_models([path])


def test_names_in_archives_lead_nowhere_and_sizes_are_held_to(tmp_path):
    """Members that climb out of a folder, links, and members that claim a model's size but hold another."""
    path = tmp_path / "b.tgz"
    with tarfile.open(path, "w:gz") as archive:
        for name, data in (("../../../pose_detection.tflite", "detector"), ("/etc/pose_landmark_full.tflite", "full")):
            member = tarfile.TarInfo(name)
            member.size = len(CONTENT[data])
            archive.addfile(member, io.BytesIO(CONTENT[data]))
        link = tarfile.TarInfo("pose_landmark_heavy.tflite")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    assert install_models([path]).installed == ["detector", "full"]
    written = {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*.tflite")}
    assert written == {f"cache/detection/{NAMES[name]}" for name in ("detector", "full")}


def test_a_download_asks_pip_and_npm_and_keeps_only_the_models(monkeypatch, tmp_path):
    asked, said = [], []

    def run(command, folder):
        asked.append(command)
        if "pip" in command:
            wheel(folder / "mediapipe.whl", **some("detector", "full"))
        else:
            tgz(folder / "pose.tgz", **some("full", "heavy"))

    monkeypatch.setattr(model_files, "_run", run)
    monkeypatch.setattr(model_files.shutil, "which", lambda name: f"/usr/bin/{name}")
    done = install_models(say=said.append)
    assert done.installed == ["detector", "full", "heavy"] and done.problems == []
    assert asked[0][1:3] == ["-m", "pip"] and asked[0][-1] == "mediapipe==0.10.21" and "--no-deps" in asked[0]
    assert asked[1][:2] == ["/usr/bin/npm", "pack"] and asked[1][-1] == "@mediapipe/pose@0.5.1675469404"
    assert [text.split()[1] for text in said] == ["mediapipe==0.10.21", "@mediapipe/pose@0.5.1675469404"]
    asked.clear()
    assert install_models().present == ["detector", "full", "heavy"] and asked == [], "offline from then on"


def test_one_landmark_model_is_enough(monkeypatch, tmp_path):
    def run(command, folder):
        if "pip" not in command:
            raise subprocess.TimeoutExpired(command, 600)
        wheel(folder / "mediapipe.whl", **some("detector", "full"))

    monkeypatch.setattr(model_files, "_run", run)
    monkeypatch.setattr(model_files.shutil, "which", lambda name: name)
    done = install_models()
    assert done.installed == ["detector", "full"] and len(done.problems) == 1
    assert "npm (41 MB) cannot be downloaded" in done.problems[0] and is_installed()


def test_without_a_network_the_message_says_why_and_what_to_do_elsewhere(monkeypatch):
    def run(command, folder):
        raise UserError("pip failed; got no route to host.")

    monkeypatch.setattr(model_files, "_run", run)
    monkeypatch.setattr(model_files.shutil, "which", lambda name: name)
    with pytest.raises(
        UserError, match=r"not complete; got .*no route to host.* On a computer with a network run `pip"
    ):
        install_models()


def test_without_npm_the_public_registry_is_asked_and_no_more_is_taken_than_a_package(monkeypatch, tmp_path):
    class Answer:
        def __init__(self, data):
            self.data = data

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def raise_for_status(self):
            return None

        def iter_content(self, size):
            return (self.data[first : first + size] for first in range(0, len(self.data), size))

    data = tgz(tmp_path / "pose.tgz", **some("heavy")).read_bytes()
    asked = []
    monkeypatch.setattr(model_files.shutil, "which", lambda name: None)
    monkeypatch.setattr(model_files.requests, "get", lambda url, **_: asked.append(url) or Answer(data))
    monkeypatch.setattr(
        model_files, "_run", lambda command, folder: wheel(folder / "a.whl", **some("detector", "full"))
    )
    assert install_models().installed == ["detector", "full", "heavy"]
    assert asked == ["https://registry.npmjs.org/@mediapipe/pose/-/pose-0.5.1675469404.tgz"]
    remove_models()
    monkeypatch.setattr(model_files, "_MOST_ARCHIVE", 10)
    assert "is too large" in install_models().problems[0]


def test_a_failing_program_is_told_by_its_last_error(tmp_path):
    import sys

    code = "import sys; sys.exit('collecting\\nERROR: no matching distribution\\nbye')"
    with pytest.raises(UserError, match="failed; got ERROR: no matching distribution"):
        model_files._run([sys.executable, "-c", code], tmp_path)
    model_files._run([sys.executable, "-c", "pass"], tmp_path)
