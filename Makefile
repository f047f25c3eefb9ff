# Everyday commands. `make demo` and `make test` need nothing but Python 3.10 or newer and a network for pip.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
GPU_VENV := .venv-gpu
OLDEST_VENV := .venv-oldest
DEMO := build/demo

.PHONY: demo test test-gpu gpu-kit lint format assets clean check-aarch64 test-aarch64 check-tensorrt-api \
    check-oldest portable evaluate verified-shares parity-grades sensitivity benchmark cost-curves ablations systems hrm \
    table-memory hostile docs startup serve-soak serve-speed action web test-web pictures

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
	$(BIN)/trm-deploy run examples/maze.txt

lint: $(VENV)/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test: lint
	$(BIN)/python -m pytest

# The playground as a folder for any static host: the page, ONNX Runtime Web from npm, the shipped models.
web: $(VENV)/installed
	$(BIN)/python tools/build_web.py

# The page in a real browser; needs chromium (apt-get install chromium) and npm, and skips with that command without.
# Screenshots are kept in build/screenshots.
test-web: $(VENV)/installed
	$(BIN)/python -m pytest tests/web

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

# The same for a machine with a GPU and PyTorch that has no network: parts of at most 45 MiB in build/gpu-kit, to be copied
# there; tools/gpu_kit.sh PART... measures. GPU_KIT_PYTHON is that machine's Python, GPU_KIT_PACKAGES what it lacks besides.
GPU_KIT_PYTHON ?= 3.12
GPU_KIT_PACKAGES ?= onnxruntime-gpu
gpu-kit: $(VENV)/installed
	$(BIN)/python -m tools.gpu_kit.gather --python $(GPU_KIT_PYTHON) $(addprefix --package ,$(GPU_KIT_PACKAGES))

# What we use of TensorRT against the real API of every release that is served, 10.3 to 11.4: NVIDIA's bindings wheels, 1 MB
# each, and a C compiler; half a minute.
check-tensorrt-api: $(VENV)/installed
	$(BIN)/python -m tools.check_tensorrt_api

# The torch-free part of the command line: as it is here, and without what macOS and Windows lack of Linux.
portable: $(VENV)/installed
	$(BIN)/python tools/portable.py
	$(BIN)/python tools/portable.py --without-posix

# The same with the oldest typer that pyproject.toml allows, and the oldest click that this typer allows; half a minute.
check-oldest: $(OLDEST_VENV)/installed
	$(OLDEST_VENV)/bin/python tools/portable.py

$(OLDEST_VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(OLDEST_VENV)
	$(OLDEST_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[onnx]' \
	    typer==0.15.0 click==8.0.0
	touch $@

format: $(VENV)/installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The shipped ONNX files, from the shipped checkpoint.
assets: $(VENV)/installed
	$(BIN)/trm-deploy export trm_deploy/assets/sudoku.pt -o trm_deploy/assets/sudoku.onnx
	$(BIN)/trm-deploy export trm_deploy/assets/sudoku.pt --graph step -o trm_deploy/assets/sudoku-step.onnx
	$(BIN)/trm-deploy export trm_deploy/assets/sudoku-6x6.pt --graph step -o trm_deploy/assets/sudoku-6x6-step.onnx
	$(BIN)/trm-deploy export trm_deploy/assets/maze.pt --graph step -o trm_deploy/assets/maze-step.onnx
	$(BIN)/python tools/ship_records.py
	$(BIN)/python tools/ship_digests.py

# Solved shares of the shipped model on published puzzle sets; needs TRM_DEPLOY_TEST_DATA.
evaluate: $(VENV)/installed
	$(BIN)/python tools/evaluate.py --limit 1000 --output build/evaluation.json

# Verified share against attempts of the shipped model on published puzzle sets, as JSON, PNG and table; needs
# TRM_DEPLOY_TEST_DATA, and goes on where it was stopped.
verified-shares: $(VENV)/installed
	$(BIN)/python tools/verified_shares.py --runtime openvino --precision bf16 --limit 1000 --output docs/measurements/verified-shares.json

# Parity of every precision on 1,000 puzzles of each QQWing grade, as docs/precision.md tells it, into build/parity; needs
# TRM_DEPLOY_TEST_DATA. A grade whose report is there is not compared again.
GRADES := simple easy intermediate expert
SHIPPED := trm_deploy/assets/sudoku.pt
ENGINES := $(foreach precision,fp32 fp16 int8,build/parity/$(precision).onnx)
PARITY = $(BIN)/trm-deploy parity $(SHIPPED) --attempts 8 --report $(@D) \
    --puzzles $(TRM_DEPLOY_TEST_DATA)/data/sudoku/qqwing_$*.csv
parity-grades: $(foreach grade,$(GRADES),build/parity/$(grade)/report.json build/parity/$(grade)-openvino/report.json)

build/parity/%.onnx: | $(VENV)/installed
	$(BIN)/trm-deploy export $(SHIPPED) --graph step --precision $* -o $@

build/parity/%-openvino/report.json: | $(VENV)/installed
	$(PARITY) $(SHIPPED:.pt=-step.onnx) --runtime openvino --precision bf16

build/parity/%/report.json: $(ENGINES)
	$(PARITY) $(ENGINES) $(SHIPPED) --precision bf16 --compile

# Every way to run the shipped model side by side, as docs/performance.md tells it; needs TRM_DEPLOY_TEST_DATA.
benchmark: $(VENV)/installed
	mkdir -p build
	$(BIN)/trm-deploy benchmark $(SHIPPED) --attempts 128 --attempt-steps 2 --limit 500 \
	    --puzzles $(TRM_DEPLOY_TEST_DATA)/data/sudoku/qqwing_expert.csv \
	    --png build/benchmark.png --json > build/benchmark.json

# How the cost grows with batch, puzzles, difficulty, model size and in memory: JSON and PNG in docs/measurements.
cost-curves: $(VENV)/installed
	$(BIN)/python tools/cost_curves.py --output docs/measurements

# docs/ablations.md's runs, as JSON, PNG and table in build/ablations; goes on where it was stopped.
ablations: $(VENV)/installed
	$(BIN)/python tools/ablations.py --runs build/ablations

# docs/systems.md's runs, which go on where they were stopped, and what came of them as JSON, PNG and table.
systems: $(VENV)/installed
	$(BIN)/python tools/systems.py --runs build/systems --output docs/measurements

# HRM the whole way: exported in each graph form, parity with PyTorch, verify without it, and puzzles solved; minutes.
HRM := docs/measurements/systems/hrm.pt
hrm: $(VENV)/installed
	mkdir -p build/hrm
	$(BIN)/trm-deploy export $(HRM) -o build/hrm/loop.onnx --force
	$(BIN)/trm-deploy export $(HRM) --graph step -o build/hrm/step.onnx --force
	$(BIN)/trm-deploy export $(HRM) --graph unrolled --steps 8 -o build/hrm/unrolled.onnx --force
	$(BIN)/trm-deploy parity $(HRM) build/hrm/loop.onnx build/hrm/step.onnx build/hrm/unrolled.onnx \
	    --puzzles examples/puzzles-6x6.txt
	for graph in loop step unrolled; do \
	    $(BIN)/trm-deploy verify build/hrm/$$graph.onnx && \
	    $(BIN)/trm-deploy run --engine build/hrm/$$graph.onnx examples/puzzles-6x6.txt || exit 1; \
	done

# Which layers of the shipped model can be narrow: docs/precision.md's table; needs TRM_DEPLOY_TEST_DATA.
sensitivity: $(VENV)/installed
	$(BIN)/python tools/sensitivity.py $(TRM_DEPLOY_TEST_DATA)/data/sudoku/qqwing_expert.csv --limit 100 \
	    --output docs/measurements/sensitivity.json

# Memory of an export, and of a run, with 500,000 puzzle embeddings; docs/published.md has the figures.
table-memory: $(VENV)/installed
	$(BIN)/python tools/table_memory.py --output build/table_memory.json

# Damaged files, claims, interruptions and rubbish, in the counts that docs/reliability.md tells; a quarter of an hour.
hostile: $(VENV)/installed
	$(BIN)/python -m tools.hostile --output build/hostile.json

# How puzzles a second grow with the actors of run --ray local, and what a billion puzzles would take: docs/scale.md; needs
# TRM_DEPLOY_TEST_DATA and a quiet machine.
scaling: $(VENV)/installed
	$(BIN)/python tools/scaling.py --output docs/measurements/scaling.json

# The steps of action.yml on the shipped model, as docs/ci.md describes them: without an accepted report, then with it.
action: $(VENV)/installed
	rm -rf build/action
	CHECKPOINT=$(SHIPPED) PARITY_FLAGS="--limit 4" FOLDER=build/action PATH="$(CURDIR)/$(BIN):$$PATH" \
	    tools/parity_ci.sh export parity > /dev/null
	cp build/action/report/report.json build/action/accepted.json
	CHECKPOINT=$(SHIPPED) PARITY_FLAGS="--limit 4" FOLDER=build/action PATH="$(CURDIR)/$(BIN):$$PATH" \
	    BASELINE=build/action/accepted.json tools/parity_ci.sh parity > /dev/null

# Seconds that commands take to start, the best of five, and the modules that take the most of them.
startup: $(VENV)/installed
	$(BIN)/python tools/startup.py

# 10,000 requests to `trm-deploy serve` with a model of 4 x 4 Sudoku: fails where its memory grows; some minutes.
serve-soak: $(VENV)/installed
	mkdir -p build
	$(BIN)/python tools/serve_soak.py --output build/serve-soak.json

# Throughput and latency of `trm-deploy serve` beside `run`: the figures of docs/serving.md; needs TRM_DEPLOY_TEST_DATA and
# a quiet machine for three minutes.
serve-speed: $(VENV)/installed
	$(BIN)/python tools/serve_speed.py $(TRM_DEPLOY_TEST_DATA)/data/sudoku/qqwing_expert.csv \
	    --output docs/measurements/serving.json

# That a Jetson on JetPack 6 or 7 can install the package from wheels alone.
check-aarch64: $(VENV)/installed
	$(BIN)/python -m tools.aarch64

# The package on the Jetson's processor, emulated: Debian's Python for arm64 and wheels, extracted into build/aarch64.
# Exit code 5, with the command that installs qemu, where there is none.
test-aarch64: $(VENV)/installed
	$(BIN)/python -m pytest -m aarch64 -n 0 tests/aarch64

# The tables of README.md and docs/ that come from measurements and from the code; a test fails where they differ.
docs: $(VENV)/installed
	$(BIN)/python tools/generate_docs.py

# README's pictures of solved puzzles, drawn by models of this repository.
pictures: $(VENV)/installed
	$(BIN)/python tools/pictures.py

clean:
	rm -rf $(VENV) $(GPU_VENV) $(OLDEST_VENV) build dist *.egg-info
