"""The detector: how its parts work together on recorded answers, and, live, what it finds in photographs."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import regressor
from regressor.datasets.image_files import read_image
from regressor.datasets.readers.joint_orders import COCO17
from regressor.people.detection import detector as module
from regressor.people.detection.blazepose import LANDMARK_NAMES
from regressor.people.detection.detector import DetectionOptions, Detector
from regressor.people.detection.model_files import installed_models
from tokenizer.engine.errors import UserError


@pytest.fixture
def replayed(recorded, monkeypatch):
    """A function of options: a detector whose models answer as recorded, one window after the other; ``scores``:
    those of the landmark model, one call after the other."""

    def build(scores=(), **options):
        asked = {"detector": 0, "landmarks": 0}
        windows = 7 if options.get("half_size", True) else 1

        class Model:
            def __init__(self, name, threads):
                self.name = "detector" if name == "detector" else "landmarks"

            def __call__(self, image):
                number = asked[self.name]
                asked[self.name] += 1
                assert (
                    image.dtype == np.float32 and image.shape == ((224, 224, 3), (256, 256, 3))[self.name != "detector"]
                )
                if self.name == "detector":
                    assert image.min() >= -1 and image.max() <= 1
                    offsets, logits = recorded.answer(number % windows)
                    return [offsets, logits[:, None]]
                assert image.min() >= 0 and image.max() <= 1
                heat = recorded.arrays["upright_heat"].astype(np.float32) / 8
                score = np.array([scores[number] if number < len(scores) else 0.99], np.float32)
                arrays = recorded.arrays
                return [arrays["upright_landmarks"], score, np.zeros((256, 256, 1)), heat, arrays["upright_world"]]

        monkeypatch.setattr(module, "_Model", Model)
        monkeypatch.setattr(module, "installed_models", lambda: ["detector", "heavy"])
        return Detector(options=DetectionOptions(**options)), asked

    return build


@pytest.fixture
def grey(recorded):
    return np.full((recorded.height, recorded.width, 3), 128, np.uint8)


def test_a_person_has_names_points_box_and_says_which_model_answered(replayed, grey):
    detector, asked = replayed(half_size=False)
    (person,) = detector.people(grey)
    assert asked == {"detector": 1, "landmarks": 2}, "the crop follows its landmarks once"
    assert person.source == "blazepose-heavy" and person.names == LANDMARK_NAMES
    assert person.points.shape == (33, 2) and person.points_3d.shape == (33, 3)
    assert person.score == pytest.approx(0.99)
    sure = person.points[person.confidence > 0.5]
    assert (sure > person.box[:2]).all() and (sure < person.box[2:]).all()
    assert person.has_3d.sum() == 23 and (person.points_3d[~person.has_3d] == 0).all()


def test_each_window_is_looked_at_once(replayed, grey):
    detector, asked = replayed()
    detector.detect(grey)
    assert asked == {"detector": 7, "landmarks": 0}


def test_who_scores_too_low_is_nobody(replayed, grey):
    detector, _ = replayed(half_size=False, scores=(0.6, 0.45))
    assert detector.people(grey) == []
    detector, _ = replayed(half_size=False, scores=(0.6, 0.45), threshold=0.4)
    assert [person.score for person in detector.people(grey)] == pytest.approx([0.45])


def test_a_refined_crop_that_is_much_worse_is_not_taken(replayed, grey):
    detector, asked = replayed(half_size=False, scores=(0.9, 0.6, 0.99), refinements=2)
    assert detector.people(grey)[0].score == pytest.approx(0.9) and asked["landmarks"] == 2


def test_a_second_crop_is_only_cut_where_somebody_new_may_be(replayed, grey, monkeypatch):
    detector, asked = replayed(half_size=False, scores=(0.05,), threshold=0.01)
    assert detector.people(grey) == [] and asked["landmarks"] == 1
    monkeypatch.setattr(module, "same_person", lambda one, other: True)
    detector, asked = replayed()
    regions = len(detector.detect(grey))
    assert regions > 1 and len(detector.people(grey)) == 1
    assert asked["landmarks"] == 2 + (regions - 1)


def test_the_number_of_people_is_limited(replayed, grey):
    detector, _ = replayed(most=1)
    assert len(detector.people(grey)) == 1


def test_a_given_box_is_looked_into(replayed, grey, monkeypatch):
    whole = replayed(half_size=False)[0].people(grey)[0].box
    detector, asked = replayed()
    person = detector.in_box(grey, whole)
    assert asked["detector"] == 1 and person.box == whole and person.names == LANDMARK_NAMES
    assert replayed(scores=[0.2] * 9)[0].in_box(grey, whole) is None, "nobody is seen there"
    monkeypatch.setattr(module, "overlaps", lambda box, boxes: np.full(len(boxes), 0.1))
    assert replayed()[0].in_box(grey, whole) is None, "that is somebody else"


def test_people_are_detected_by_one_name_and_models_are_loaded_once(replayed, grey, monkeypatch):
    replayed()
    built = []
    plain = module.Detector
    monkeypatch.setattr(module, "Detector", lambda **given: built.append(given) or plain(**given))
    module._loaded.cache_clear()
    first, second = regressor.detect_people(grey), regressor.detect_people(grey)
    assert len(first) == len(second) > 0 and first[0].source == "blazepose-heavy" and len(built) == 1
    assert regressor.detect_people(grey, threshold=0.999) == [] and len(built) == 2
    module._loaded.cache_clear()


@pytest.mark.parametrize(("present", "source"), [(["detector", "full"], "full"), (["full", "heavy"], "heavy")])
def test_heavy_answers_where_it_is_installed(monkeypatch, present, source):
    monkeypatch.setattr(module, "_Model", lambda name, threads: name)
    monkeypatch.setattr(module, "installed_models", lambda: present)
    assert Detector().source == f"blazepose-{source}" and Detector("full").source == "blazepose-full"


def test_without_models_or_runtime_there_is_one_message(monkeypatch, tmp_path):
    monkeypatch.setenv("POSE_TOKEN_HMR_CACHE", str(tmp_path))
    with pytest.raises(UserError, match="Run `pose-regressor install-detector` once"):
        Detector()
    monkeypatch.setattr(module, "read_model", lambda name: b"")
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(UserError, match=r"needs ai-edge-litert; .*pip install 'pose-token-hmr\[people\]'"):
        Detector()


@pytest.fixture(scope="module")
def live():
    """A function of options: the detector of this computer. Fails, and does not skip, where it is not installed."""
    return lambda landmarks=None, **options: Detector(landmarks, DetectionOptions(**options))


PHOTOS = Path(__file__).resolve().parents[5] / "shared" / "photos"
"""Photographs beside the repository, which a clone has not."""


@pytest.mark.detector
@pytest.mark.parametrize("shape", [(1, 1), (3, 1000), (40, 30), (480, 640)])
def test_nobody_is_found_in_noise_of_any_size(live, shape):
    noise = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    assert live().people(noise) == []


@pytest.mark.detector
def test_nobody_is_found_in_one_colour(live):
    for value in (0, 128, 255):
        assert live().people(np.full((300, 200, 3), value, np.uint8)) == []


@pytest.mark.detector
def test_the_same_image_gives_the_same_answer(live):
    image = np.random.default_rng(1).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    detector = live(threshold=0.0, half_size=False, most=2)
    one, other = detector.people(image), detector.people(image)
    assert [person.points.tolist() for person in one] == [person.points.tolist() for person in other]
    assert all(np.isfinite(person.points).all() for person in one)


@pytest.mark.detector
def test_the_runtime_writes_nothing_to_the_terminal(live, capfd):
    live()
    assert capfd.readouterr() == ("", "")


@pytest.mark.detector
@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_the_skier_is_found_however_the_photograph_is_turned(live, skier, quarters):
    if not (PHOTOS / "skier.jpg").is_file():
        pytest.skip("the photograph is not at hand")
    image = read_image(PHOTOS / "skier.jpg")
    height, width = image.shape[:2]
    for landmarks in (name for name in ("full", "heavy") if name in installed_models()):
        detector = live(landmarks)
        people = detector.people(np.ascontiguousarray(np.rot90(image, -quarters)))
        assert len(people) == 1 and people[0].source == f"blazepose-{landmarks}"
        points = people[0].ordered(COCO17)[:, :2]
        x, y = points.T
        back = ((x, y), (y, height - x), (width - x, height - y), (width - y, x))[quarters]
        assert np.median(np.linalg.norm(np.stack(back, 1) - skier, axis=1)) < 0.03 * 347
