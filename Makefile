# make serve, make test: each makes the environment it needs in .venv first.

PYTHON ?= python3
MODEL ?=
MODELS ?=
HOST ?= 127.0.0.1
PORT ?= 8000
QUICK ?=
# what is never imported need not be compiled
PIP = .venv/bin/python -m pip install --no-compile --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: serve test bench lint format clean

serve: .venv/core ## Serve MODEL, and what lies in the folder MODELS, on HOST:PORT
	.venv/bin/boxwright serve $(if $(MODEL),--model "$(MODEL)") $(if $(MODELS),--models "$(MODELS)") --host $(HOST) --port $(PORT)

test: .venv/everything ## Every test, in two processes; what a file's tests share is made in one of them
	.venv/bin/python -m pytest --numprocesses 2 --dist loadfile

bench: .venv/everything .venv-rivals/made ## Everything measured beside its rivals; the tables of README.md and docs/performance.md
	mkdir -p runs/bench
	-.venv/bin/python -m benchmarks.suite $(if $(QUICK),--quick) > runs/bench/results.jsonl
	.venv/bin/python -m benchmarks.render runs/bench/results.jsonl --write
	.venv/bin/python -m benchmarks.render runs/bench/results.jsonl

lint: .venv/everything ## Linter, formatter, type checker
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

format: .venv/everything
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

.venv/core: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) --editable .
	touch $@

.venv/everything: .venv/core
	$(PIP) --editable '.[train,ray,dev]'
	touch $@

# OpenCV 5 has no Darknet importer; OpenVINO is no dependency of ours
.venv-rivals/made: constraints.txt
	$(PYTHON) -m venv .venv-rivals
	.venv-rivals/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[train]' \
		opencv-python-headless==4.10.0.84 openvino
	touch $@

clean:
	rm -rf .venv .venv-rivals build *.egg-info .mypy_cache .ruff_cache .hypothesis
