# Each target is a sentence: `make help` prints them.
PYTHON ?= python3
BIN := .venv/bin
# The stages run `python -m pipeline`: it must be the environment's own python.
export PATH := $(CURDIR)/$(BIN):$(PATH)
# No program started here phones home.
export DVC_NO_ANALYTICS := 1
export MLFLOW_DISABLE_TELEMETRY := 1
export HYDRA_FULL_ERROR := 0

.PHONY: help repro test lint format bench ui figures lock clean

help: ## Say what each target does.
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|'

repro: .venv/installed ## Run what is out of date: scenes, tiles, network, figures, map, export.
	dvc repro

test: .venv/developing ## Run the whole test suite, on two processes.
	python -m pytest -n 2 --dist loadgroup

lint: .venv/developing ## Check style and types.
	ruff check .
	ruff format --check .
	mypy

format: .venv/developing ## Put the code into the one format.
	ruff check --fix .
	ruff format .

bench: .venv/developing ## Measure speed and memory; writes benchmarks/RESULTS.md.
	python -m benchmarks

ui: .venv/installed ## Open MLflow on http://127.0.0.1:5000.
	python -m pipeline ui

figures: .venv/installed ## Put the last run's measures and pictures into the README.
	python -m docs.figures

lock: .venv/developing ## Write down the exact versions that are installed now.
	pip freeze --exclude-editable | sed 's/+cpu$$//' | LC_ALL=C sort -f > requirements.lock

clean: ## Remove what the pipeline made, but not DVC's cache, MLflow's runs or the environment.
	rm -rf data/sample data/tiles models/* predictions/* .checkpoints

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: pyproject.toml requirements.lock | .venv/bin/python
	pip install --quiet -c requirements.lock -e .
	touch $@

.venv/developing: .venv/installed
	pip install --quiet -c requirements.lock -e '.[dev]'
	touch $@
