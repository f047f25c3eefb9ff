# Everyday commands. `make demo` and `make test` need nothing but Python 3.10 or newer and a network for pip.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
GPU_VENV := .venv-gpu
DEMO := build/demo

.PHONY: demo test test-gpu lint format assets evaluate ablations check-aarch64 table-memory sensitivity clean

# Made again whenever what is to be installed changes.
$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

demo: $(VENV)/installed
	mkdir -p $(DEMO)
	$(BIN)/trm-deploy export trm_deploy/assets/sudoku.pt --format onnx -o $(DEMO)/sudoku.onnx
	$(BIN)/trm-deploy parity trm_deploy/assets/sudoku.pt $(DEMO)/sudoku.onnx --limit 4
	$(BIN)/trm-deploy run --engine $(DEMO)/sudoku.onnx examples/puzzle.txt

lint: $(VENV)/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test: lint
	$(BIN)/python -m pytest

# On a machine with an NVIDIA GPU: parity, latency and memory of every runtime there; build/gpu/gpu.json and gpu.md.
# Its own environment, which sees the system's packages (a Jetson has TensorRT from apt) and takes ONNX Runtime and
# TensorRT for GPUs where pip finds them; what is missing is named in the report.
test-gpu: $(GPU_VENV)/installed
	$(GPU_VENV)/bin/python -m pytest -m gpu -n 0 tests/gpu

$(GPU_VENV)/installed: pyproject.toml
	$(PYTHON) -m venv --system-site-packages $(GPU_VENV)
	$(GPU_VENV)/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(GPU_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	$(GPU_VENV)/bin/python -c 'import tensorrt' 2>/dev/null || \
	    $(GPU_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[tensorrt]' || \
	    echo 'note: pip finds no TensorRT; it may need NVIDIA'"'"'s own package index'
	$(GPU_VENV)/bin/python -m pip uninstall --quiet --yes onnxruntime
	$(GPU_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[gpu]' || \
	    $(GPU_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[onnx]'
	touch $@

format: $(VENV)/installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The shipped ONNX file, from the shipped checkpoint.
assets: $(VENV)/installed
	$(BIN)/trm-deploy export trm_deploy/assets/sudoku.pt -o trm_deploy/assets/sudoku.onnx

# Solved and verified shares of the shipped model on published puzzle sets; needs TRM_DEPLOY_TEST_DATA.
evaluate: $(VENV)/installed
	$(BIN)/python tools/evaluate.py --attempts 1 --limit 1000 --output build/evaluation.json

# docs/ablations.md's runs, as JSON, PNG and table in build/ablations; goes on where it was stopped.
ablations: $(VENV)/installed
	$(BIN)/python tools/ablations.py --runs build/ablations

# Which layers of the shipped model can be int8: docs/precision.md's table; needs TRM_DEPLOY_TEST_DATA.
sensitivity: $(VENV)/installed
	$(BIN)/python tools/sensitivity.py $(TRM_DEPLOY_TEST_DATA)/data/sudoku/qqwing_expert.csv --limit 1000 \
	    --output docs/measurements/sensitivity.json

# Memory of an export, and of a run, with 500,000 puzzle embeddings; docs/published.md has the figures.
table-memory: $(VENV)/installed
	$(BIN)/python tools/table_memory.py --output build/table_memory.json

# That a Jetson on JetPack 6 can install the package from wheels alone.
check-aarch64: $(VENV)/installed
	$(BIN)/python tools/check_aarch64.py

clean:
	rm -rf $(VENV) $(GPU_VENV) build dist *.egg-info
