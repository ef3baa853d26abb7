"""Fixtures shared by all tests: the open body, loaded once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import hypothesis
import numpy as np
import pytest
import torch

from regressor.datasets.readers.joint_orders import COCO17
from tokenizer.artifact import export_tokenizer
from tokenizer.body.rotations import axis_angle_to_matrix
from tokenizer.body.skeleton import keypoint_index
from tokenizer.config import NetworkConfig, QuantizerConfig, TokenizerConfig
from tokenizer.frozen import load_tokenizer
from tokenizer.network.model import build_tokenizer


@pytest.fixture(scope="session")
def open_body():
    from tokenizer.body.model import load_body

    return load_body("open")


@pytest.fixture(scope="session")
def killed_after_a_checkpoint():
    """(program's module, arguments, run folder): starts a training of ours and kills it, without a word and at whatever
    instant, once it has written a checkpoint."""

    def kill(module, arguments, run):
        import torch

        command = [sys.executable, "-c", f"from {module} import main; main()", *map(str, arguments)]
        environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=environment)
        deadline = time.monotonic() + 60
        while not list((run / "checkpoints").glob("step_*.pt")) and time.monotonic() < deadline:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()

    return kill


@pytest.fixture(scope="session")
def measured():
    """(imports, code, paths): runs ``code`` for each ``path`` in one process and says what came of each: ``mib``, by
    how much its largest memory grew, ``seconds`` of the processor, and ``message`` of a ``UserError``, or ''."""
    if not Path("/proc/self/status").exists():
        pytest.skip("memory is measured by Linux's /proc")

    def run(imports, code, paths):
        program = f"""
import json, resource, sys, time
from tokenizer.engine.errors import UserError
{textwrap.dedent(imports)}
def peak():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith("VmHWM"))
def read(path):
{textwrap.indent(textwrap.dedent(code), "    ")}
resource.setrlimit(resource.RLIMIT_DATA, (12 << 30, 12 << 30))
found = []
for path in sys.argv[1:]:
    start, began, message = peak(), time.process_time(), ""
    try:
        read(path)
    except UserError as error:
        message = str(error)
    found.append({{"mib": peak() - start, "seconds": time.process_time() - began, "message": message}})
sys.stdout.write(json.dumps(found))
"""
        command = [sys.executable, "-c", program, *map(str, paths)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


# The same examples in every run, whatever the machine's pace: a failure is one of the code.
hypothesis.settings.register_profile("steady", derandomize=True, deadline=None)
hypothesis.settings.load_profile("steady")


@pytest.fixture(scope="session")
def tokenizer_file(tmp_path_factory):
    """An exported tokenizer of 6 tokens of 4 × 4 × 2 codes, hardly trained."""
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.h5"
    torch.manual_seed(0)
    quantizer = QuantizerConfig(levels=(4, 4, 2), groups=3, layers=2)
    config = TokenizerConfig(network=NetworkConfig(width=16, blocks=1), quantizer=quantizer)
    model = build_tokenizer(config.network, config.quantizer)
    model.fit_scale(axis_angle_to_matrix(0.3 * torch.randn(64, 21, 3)))
    export_tokenizer(model.eval(), config, path)
    return path


@pytest.fixture(scope="session")
def tokenizer(tokenizer_file):
    return load_tokenizer(tokenizer_file)


@pytest.fixture(scope="session")
def tiny_config():
    """Seconds, not minutes: 32 px, 8 channels, 8 steps."""
    from regressor.config import AugmentConfig, BackboneConfig, DecoderConfig, OptimConfig, RegressorConfig

    return RegressorConfig(
        image_size=32,
        backbone=BackboneConfig(width=8, blocks=(1, 1, 1), channels=8),
        decoder=DecoderConfig(dim=8, heads=2, width=16, blocks=1, dropout=0.1),
        augment=AugmentConfig(),
        optim=OptimConfig(steps=8, batch=4, warmup=2),
        precision="fp32",
        validate_every=4,
        checkpoint_every=2,
    )


@pytest.fixture
def regressor(tiny_config, tokenizer):
    from regressor.network.model import build_regressor

    torch.manual_seed(0)
    return build_regressor(replace(tiny_config), tokenizer)


def _annotated_people(body, count, *, size=32, seed=0):
    """``count`` people in true perspective, in images of noise, as a Sample."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    pose = torch.eye(3).repeat(count, 23, 1, 1)
    pose[:, :21] = axis_angle_to_matrix(0.3 * normal(count, 21, 3))
    upright = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    orientation = axis_angle_to_matrix(0.3 * normal(count, 3)) @ upright
    betas = normal(count, 10)
    translation = torch.tensor([0.0, 0.0, 4.0]) + 0.3 * normal(count, 3)
    intrinsics = torch.tensor([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]]).repeat(count, 1, 1)
    keypoints = body.keypoints(pose, root=orientation, betas=betas, translation=translation)
    pixels = keypoints @ intrinsics.transpose(1, 2)
    pixels = pixels[..., :2] / pixels[..., 2:]
    low, high = pixels.amin(1), pixels.amax(1)
    centre, edge = (low + high) / 2, 1.2 * (high - low).amax(-1)[:, None]
    box = torch.cat([centre - edge / 2, centre + edge / 2], -1)
    seen = torch.ones(count, 44, 1)
    known = torch.ones(count, dtype=torch.bool)
    return {
        "image": torch.randint(256, (count, 3, size, size), generator=generator, dtype=torch.uint8),
        "keypoints_2d": torch.cat([(pixels - centre[:, None]) / edge[:, None], seen], -1),
        "keypoints_3d": torch.cat([keypoints, seen], -1),
        "global_orient": orientation,
        "body_pose": pose,
        "betas": betas,
        "translation": translation,
        "has_global_orient": known,
        "has_body_pose": known.clone(),
        "has_betas": known.clone(),
        "box": box,
        "image_size": torch.tensor([[640.0, 480.0]]).repeat(count, 1),
        "K": intrinsics,
    }


@pytest.fixture(scope="session")
def annotated_people(open_body):
    """(count, size=32, seed=0) → a Sample of that many people, exactly annotated, in images of noise."""
    return partial(_annotated_people, open_body)


@pytest.fixture(scope="session")
def crops_file(annotated_people, tmp_path_factory):
    """A crop store of 12 training, 5 validation and 6 test crops of 32 px."""
    from regressor.datasets.crop_store import write_crops

    path = tmp_path_factory.mktemp("crops") / "crops.h5"
    counts = {"train": 12, "val": 5, "test": 6}
    with write_crops(path, 32, counts, {"domain": "suit"}) as writer:
        for seed, (split, count) in enumerate(counts.items()):
            writer.append(split, {k: v.numpy() for k, v in annotated_people(count, seed=seed).items()})
    return path


@pytest.fixture
def sample(annotated_people):
    return annotated_people(4)


@pytest.fixture(scope="session")
def make_photographs(annotated_people, tmp_path_factory):
    """(count) → the JSON of keypoints beside that many photographs of noise, one exactly annotated person in each."""

    def make(count):
        folder = tmp_path_factory.mktemp("photographs")
        people, draw = annotated_people(count, seed=5), np.random.default_rng(0)
        rows = [keypoint_index(name) for name in COCO17]
        low, side = people["box"][:, None, :2], (people["box"][:, 2:] - people["box"][:, :2])[:, None]
        points = (people["keypoints_2d"][:, rows, :2] + 0.5) * side + low
        images, annotations = [], []
        for i, (person, box) in enumerate(zip(points.numpy(), people["box"].numpy(), strict=True)):
            cv2.imwrite(str(folder / f"{i}.jpg"), draw.integers(0, 256, (480, 640, 3), dtype=np.uint8))
            images.append({"id": i, "file_name": f"{i}.jpg"})
            keypoints = np.concatenate([person, np.full((17, 1), 2)], 1)
            annotations.append(
                {
                    "image_id": i,
                    "bbox": [*box[:2].tolist(), *(box[2:] - box[:2]).tolist()],
                    "keypoints": keypoints.ravel().tolist(),
                }
            )
        (folder / "keypoints.json").write_text(json.dumps({"images": images, "annotations": annotations}))
        return folder / "keypoints.json"

    return make
