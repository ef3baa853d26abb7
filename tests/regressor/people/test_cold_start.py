"""What a short command waits for before it works: modules that it has no use for are not imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import cv2
import numpy as np
import torch

from regressor.checkpoints.regressor_file import save_regressor
from regressor.network.model import build_regressor

HEAVY = (
    "torch._dynamo",
    "torch._inductor",
    "sympy",
    "scipy.optimize",
    "torch.fx.experimental.symbolic_shapes",
    "torch.distributed.tensor",
    "smplx",
    "pandas",
    "tensorboard",
)
"""Compilers, computer algebra, optimisers: half a second to two seconds each."""
PROGRAM = """
import json, sys
{before}
sys.argv, listed = sys.argv[:-1], sys.argv[-1]
from {module}.commands.cli import main
main(standalone_mode=False)
print(json.dumps(sorted(sys.modules)), file=open(listed, "w"))
"""
EMPTY_VIT = """
from regressor.config import preset
from regressor.network.model import build_regressor
from tokenizer import load_tokenizer
build_regressor(preset("vit-s"), load_tokenizer(sys.argv[sys.argv.index("--tokenizer") + 1]), empty=True)
"""


def modules_of(module, *arguments, out, before=""):
    """All that the command imports, from its start to its end, in a process of its own."""
    listed = out / "modules.json"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(module=module, before=before), *map(str, arguments), str(listed)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(listed.read_text())


def test_predict_imports_no_compiler(tiny_config, tokenizer, tokenizer_file, tmp_path):
    """Neither for the small network nor for the paper's."""
    torch.manual_seed(0)
    network = build_regressor(tiny_config, tokenizer).network
    regressor = save_regressor(tmp_path / "r.pt", network, tiny_config, tokenizer, {"body": "open"})
    cv2.imwrite(str(tmp_path / "p.png"), np.zeros((64, 64, 3), np.uint8))
    given = ("--whole", "--regressor", regressor, "--tokenizer", tokenizer_file, "--out", tmp_path / "out")
    modules = modules_of("regressor", "predict", tmp_path / "p.png", *given, out=tmp_path, before=EMPTY_VIT)
    assert [name for name in HEAVY if name in modules] == []
    assert not [name for name in modules if name.split(".")[0] == "scipy"], "nothing is fitted"


def test_encode_imports_no_compiler(tokenizer_file, tmp_path):
    poses = np.zeros((5, 156), np.float32)
    np.savez(
        tmp_path / "clip.npz",
        poses=poses,
        trans=np.zeros((5, 3)),
        betas=np.zeros(10),
        mocap_framerate=30.0,
        gender="neutral",
    )
    modules = modules_of(
        "tokenizer", "encode", tokenizer_file, tmp_path / "clip.npz", "--out", tmp_path / "tokens.npz", out=tmp_path
    )
    assert [name for name in HEAVY if name in modules] == []
