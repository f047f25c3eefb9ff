# Everyday commands. `make demo` and `make test` need nothing but Python 3.10 or newer and a network for pip.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := build/demo

.PHONY: demo test lint format assets evaluate clean

# Made again whenever what is to be installed changes.
$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

demo: $(VENV)/installed
	mkdir -p $(DEMO)
	$(BIN)/trm-deploy export trm_deploy/assets/sudoku.pt --format onnx -o $(DEMO)/sudoku.onnx
	$(BIN)/trm-deploy parity trm_deploy/assets/sudoku.pt $(DEMO)/sudoku.onnx
	$(BIN)/trm-deploy run --engine $(DEMO)/sudoku.onnx examples/puzzle.txt

lint: $(VENV)/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test: lint
	$(BIN)/python -m pytest

format: $(VENV)/installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The shipped ONNX file, from the shipped checkpoint.
assets: $(VENV)/installed
	$(BIN)/trm-deploy export trm_deploy/assets/sudoku.pt -o trm_deploy/assets/sudoku.onnx

# Solved and verified shares of the shipped model on published puzzle sets; needs TRM_DEPLOY_TEST_DATA.
evaluate: $(VENV)/installed
	$(BIN)/python tools/evaluate.py --attempts 1 --limit 1000 --output build/evaluation.json

clean:
	rm -rf $(VENV) build dist *.egg-info
