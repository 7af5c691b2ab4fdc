# make serve, make test, make lint: each creates the environment it needs in .venv first.

PYTHON ?= python3
MODEL ?=
MODELS ?=
HOST ?= 127.0.0.1
PORT ?= 8000
QUICK ?=
# pip compiles nothing, because Python compiles what it imports and writes the bytecode.
# Without bytecode, each process that imports TensorFlow compiles it again and starts 10 s later.
unexport PYTHONDONTWRITEBYTECODE
PIP = .venv/bin/python -m pip install --no-compile --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: serve test test-slow test-all test-wheel bench lint format clean

# Ctrl-C is the usual end of the service. The trap makes the shell wait for it, and its exit code 130 is no error of make.
serve: .venv/core ## Serve MODEL, and the models in the folder MODELS, on HOST:PORT
	@trap : INT; .venv/bin/boxwright serve $(if $(MODEL),--model "$(MODEL)") $(if $(MODELS),--models "$(MODELS)") --host $(HOST) --port $(PORT) \
		|| { code=$$?; [ $$code = 130 ] || exit $$code; }

test: .venv/everything ## Run the tests, without the slow ones, in two processes
	.venv/bin/python -m pytest --numprocesses 2 --dist loadfile -m "not slow"

test-slow: .venv/everything ## Run the slow tests
	.venv/bin/python -m pytest --numprocesses 2 --dist loadfile -m slow

test-all: test test-slow ## Run all tests

test-wheel: ## Build the wheel, install it into a new environment, and run a detection
	PYTHON=$(PYTHON) .ci/test-wheel

bench: .venv/everything .venv-rivals/made .venv-opencv5/made ## Compare speed, memory and start with other libraries; update the tables of README.md and docs
	mkdir -p runs/bench
	-.venv/bin/python -m benchmarks.suite $(if $(QUICK),--quick) > runs/bench/results.jsonl
	.venv/bin/python -m benchmarks.render runs/bench/results.jsonl --write
	.venv/bin/python -m benchmarks.render runs/bench/results.jsonl

lint: .venv/everything ## Run linter, formatter, import contracts and type checker
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/lint-imports
	.venv/bin/mypy

format: .venv/everything
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

.venv/core: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Boxwright needs Python 3.11 or later. Name one: make PYTHON=python3.11"; exit 1; }
	@echo "Installing Boxwright in .venv (0.25 GB). This can take a few minutes."
	$(PYTHON) -m venv .venv
	$(PIP) --editable .
	touch $@

.venv/everything: .venv/core
	$(PIP) --editable '.[train,openvino,ray,dev]'
	touch $@

# pnnx converts ONNX to ncnn. We run only its program, which needs none of the dependencies of its Python package.
.venv-rivals/made: constraints.txt
	$(PYTHON) -m venv .venv-rivals
	.venv-rivals/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[train]' \
		opencv-python-headless==4.10.0.84 openvino pycocotools ncnn keras-hub
	.venv-rivals/bin/python -m pip install --quiet --disable-pip-version-check --no-deps pnnx
	touch $@

# OpenCV 5 has no Darknet importer, and cannot be installed next to OpenCV 4.
.venv-opencv5/made: constraints.txt
	$(PYTHON) -m venv .venv-opencv5
	.venv-opencv5/bin/python -m pip install --quiet --disable-pip-version-check --editable . pycocotools 'opencv-python-headless>=5'
	touch $@

clean:
	rm -rf .venv .venv-rivals .venv-opencv5 build *.egg-info .mypy_cache .ruff_cache .hypothesis
