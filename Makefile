# Two commands: `make demo` and `make test`. Both make the environment where it is missing.
#
#   PYTHON=python3.12       the interpreter the environment is made with (3.11 or newer)
#   TORCH_INDEX=<address>   another package index for torch alone, such as PyTorch's own index of small CPU builds
#   PYTEST_ARGS="-k name"   passed on to pytest

PYTHON ?= python3
VENV ?= .venv
TORCH_INDEX ?=
PYTEST_ARGS ?= -n 2 --dist loadfile
DEMO_HOME ?= .demo

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test check install-dev clean bench-ingest
.DEFAULT_GOAL := help

help:
	@echo "make demo   write, score and export the texts of examples/prompts.jsonl with the demonstration models"
	@echo "make test   the whole suite: ruff, mypy, import-linter, pytest"

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit("Inkmill needs Python 3.11 or newer; say make PYTHON=python3.12") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.torch: constraints.txt | $(BIN)/python
	$(PIP) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	@touch $@

$(VENV)/.worker: pyproject.toml constraints.txt $(VENV)/.torch
	@echo "installing into $(VENV)"
	$(PIP) --editable '.[worker]'
	@touch $@

$(VENV)/.dev: $(VENV)/.worker
	$(PIP) --editable '.[worker,dev]'
	@touch $@

demo: $(VENV)/.worker
	INKMILL_HOME=$(DEMO_HOME) $(BIN)/inkmill run examples/prompts.jsonl --model demo --safety demo -o $(DEMO_HOME)/texts.jsonl

install-dev: $(VENV)/.dev

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: check
	$(BIN)/python -m pytest $(PYTEST_ARGS)

bench-ingest: $(VENV)/.dev
	$(BIN)/python -m bench.ingest

clean:
	-test -x $(BIN)/inkmill && INKMILL_HOME=$(DEMO_HOME) $(BIN)/inkmill stop
	rm -rf $(VENV) $(DEMO_HOME) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
