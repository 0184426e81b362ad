# Each command but `make gpu` makes .venv, installs what it needs into it, and runs. Nothing but Python >= 3.10 is needed
# before.
#
#   make test PYTEST_ARGS="-k normal"       make bench-all BENCH_ARGS="--sizes 10,20"       make PYTHON=python3.12 test
#   make models MODELS_ARGS="--slices 20"       make VENV=.venv-newest CONSTRAINTS=tests/newest.txt test
#   make gpu GPU_ARGS="--parts checks,timings"

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# A pip constraints file, where other versions are wanted than the newest that pip finds.
CONSTRAINTS ?=

PYTEST_ARGS ?=
# Processes that share out the test files.
WORKERS ?= 2
BENCH_ARGS ?=
# Anything, such as 1, where make bench is to install other libraries to measure beside torch.
PEERS ?=
CALLS_ARGS ?=
MODELS_ARGS ?=
GPU_ARGS ?=

# Strict: the installed package is a tree of links to the source files, which mypy can read and which hides kernels/
# and distributions/ from the path. A new or removed file needs a new installation, an edited one does not.
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --config-settings editable_mode=strict \
	$(addprefix --constraint ,$(CONSTRAINTS))
SOURCES := $(shell find kernels distributions -type f -not -name '*.pyc' | LC_ALL=C sort)

# Each worker has a core: with OpenMP threads beside it, which wait busily, tests take half as long again. Files in their
# own order: in that of the number of tests, which is xdist's, the longest tests come last, and a worker waits for them.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

# What the version of torch or Triton touches.
VERSIONED := $(patsubst %,tests/test_%.py,acceleration autograd backends compiled_calls compiled_keys compiler \
	elementwise_kernels keys native_core noise operators philox plans race_kernels recorded_bits sharded validation \
	vectors windows)

.PHONY: help test oldest versioned field bench bench-all calls models gpu readme docs release lint format clean FORCE
.DELETE_ON_ERROR:

help:
	@echo "make test     every test; the kernel tests once more on Triton's interpreter"
	@echo "make oldest   tests of what depends on torch's version, on the oldest that is supported, in $(VENV)-oldest"
	@echo "make field    models of Pyro and TorchRL on accelerated torch.distributions; installs both"
	@echo "make bench    ten draws, large and small, beside torch.distributions and numpy (PEERS=1: and JAX); programs: 3 minutes"
	@echo "make bench-all    count instructions, measure every draw at many sizes: tables, plots and CSV in bench/results"
	@echo "make calls    what calling a draw costs, and programs that draw little: a part of make bench-all"
	@echo "make models   train three small models with both libraries: table, plot and CSV in bench/results"
	@echo "make gpu      check and measure on this machine's NVIDIA GPU, installing nothing: tables, plot and CSV in bench/results"
	@echo "make readme   put what is supported, and the tables of the last measurements, into the pages"
	@echo "make docs     pages of all that is public, from its docstrings, in build/api"
	@echo "make release  build wheel and source distribution into dist, check them, draw from each in an empty environment"
	@echo "make lint     ruff and mypy"
	@echo "make format   let ruff rewrite what it can; list new classes for type checkers"
	@echo "make clean    remove .venv, build folders and caches"

# The tests of bench/ need its packages too. A selection by PYTEST_ARGS may leave no kernel test: pytest then says 5.
# The libraries of `make field` change torch.distributions on import: their tests have a process of their own.
test: $(VENV)/test.stamp
	$(PYTEST) --ignore=tests/field $(PYTEST_ARGS)
	TRITON_INTERPRET=1 $(PYTEST) --ignore=tests/field -m kernel $(PYTEST_ARGS) $(if $(PYTEST_ARGS),|| [ $$? -eq 5 ])
	@echo "Not run by this command: GPU tests (make gpu), models of other libraries (make field), the oldest torch (make oldest)."

oldest:
	$(MAKE) VENV=$(VENV)-oldest CONSTRAINTS=tests/oldest.txt versioned

versioned: $(VENV)/test.stamp
	$(PYTEST) $(VERSIONED) $(PYTEST_ARGS)

field: $(VENV)/field.stamp
	$(BIN)/pytest tests/field $(PYTEST_ARGS)

bench: $(VENV)/$(if $(PEERS),peers,bench).stamp
	$(BIN)/python bench/ten.py
	$(BIN)/python bench/programs.py $(CALLS_ARGS)
	$(BIN)/python bench/calls.py --device cuda --shown $(CALLS_ARGS)
	$(BIN)/python bench/compiled.py $(CALLS_ARGS)

# Instructions are counted anew only where the kernels have changed since.
bench-all: bench
	$(BIN)/python bench/instructions.py
	$(BIN)/python bench/fused_examples.py
	$(BIN)/python bench/run.py $(BENCH_ARGS)
	$(BIN)/python bench/calls.py $(CALLS_ARGS)
	$(BIN)/python bench/sizes.py

calls: $(VENV)/bench.stamp
	$(BIN)/python bench/calls.py $(CALLS_ARGS)
	$(BIN)/python bench/programs.py $(CALLS_ARGS)

models: $(VENV)/bench.stamp
	$(BIN)/python bench/train.py $(MODELS_ARGS)

# A machine with a GPU has its own torch and Triton, which are the ones to measure: nothing is installed.
gpu:
	$(PYTHON) bench/gpu/run.py $(GPU_ARGS)

readme: $(VENV)/bench.stamp
	$(BIN)/python bench/readme.py

docs: $(VENV)/docs.stamp
	$(BIN)/python tests/api_pages.py

# The version is that of distributions/top_level/__init__.py and of the newest heading of the changelog, by a test.
release: $(VENV)/release.stamp
	rm -rf dist
	$(BIN)/python -m build --no-isolation
	$(BIN)/twine check --strict dist/*
	$(BIN)/python tests/check_release.py dist/*

lint: $(VENV)/lint.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/lint.stamp
	$(BIN)/python tests/type_stub.py
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) $(VENV)-oldest build dist *.egg-info .benchmarks .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# Changes only when a file appears or disappears, or where an environment serves another checkout.
$(VENV)/sources.list: FORCE | $(BIN)/python
	@printf '%s\n' $(CURDIR) $(SOURCES) | cmp -s - $@ || printf '%s\n' $(CURDIR) $(SOURCES) > $@

$(VENV)/test.stamp: EXTRAS := test,bench
$(VENV)/field.stamp: EXTRAS := test,field
$(VENV)/bench.stamp: EXTRAS := bench
$(VENV)/peers.stamp: EXTRAS := bench,peers
$(VENV)/lint.stamp: EXTRAS := lint
$(VENV)/docs.stamp: EXTRAS := docs
$(VENV)/release.stamp: EXTRAS := release
$(VENV)/%.stamp: pyproject.toml $(VENV)/sources.list | $(BIN)/python
	@echo "Installing rsample[$(EXTRAS)] into $(VENV); torch takes a while the first time."
	$(INSTALL) --editable '.[$(EXTRAS)]'
	@touch $@
