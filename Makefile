# make demo and make test do all the set-up by themselves: a virtual environment in .venv, then the job.

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
# Test processes; each gets one BLAS thread, for together they already fill the cores.
WORKERS ?= 2

BIN = $(VENV)/bin
# What runs featlab, and what its tests need besides: make demo waits for the first alone.
RUNS = $(VENV)/.installed
TESTS = $(VENV)/.installed-tests
DOCS = $(VENV)/.installed-docs
PIP = $(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: help install demo test lint data bench soak fuzz mutants defects measures pictures docs lowest clean

help:
	@echo 'make demo     train, capture, analyse and report on this machine (ARGS="--data planted" for options)'
	@echo 'make test     every check: lint, then the tests'
	@echo 'make lint     ruff, mypy, import-linter, biome for the page'
	@echo 'make bench    the figures that the README quotes'
	@echo 'make soak     the long tests'
	@echo 'make fuzz     damaged and hostile input, for an hour (FUZZ_SECONDS=60 for less)'
	@echo 'make mutants  plant mistakes one by one: a test has to notice each'
	@echo 'make defects  each mended defect: its test fails at BEFORE=commit and passes now'
	@echo 'make measures writes docs/measures.md from the definitions of columns and scores'
	@echo 'make pictures trains two demos and draws the pictures of docs/ from them; then make measures'
	@echo 'make docs     builds the documentation site into site/; it opens from the disk'
	@echo 'make lowest   the tests with the oldest dependencies that pyproject.toml allows'
	@echo 'make install  only the set-up: $(VENV)'
	@echo 'make clean    remove what these made'

install: $(TESTS)

$(RUNS): pyproject.toml constraints.txt
	@echo '==> installing featlab into $(VENV) (once; a minute or two, torch is large)'
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "featlab needs Python 3.11 or newer, this is " + sys.version.split()[0] + ": make PYTHON=python3.11")'
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) --editable .
	@touch $@

$(TESTS): $(RUNS)
	@echo '==> installing what the tests need into $(VENV) (once; some minutes)'
	@$(PIP) --editable '.[test]'
	@touch $@

$(DOCS): $(RUNS)
	@echo '==> installing what the site needs into $(VENV) (once)'
	@$(PIP) --editable '.[docs]'
	@touch $@

demo: $(RUNS)
	@echo '==> featlab demo $(ARGS)'
	@$(BIN)/featlab demo $(ARGS)

test: lint data
	@echo '==> pytest'
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile $(ARGS)

lint: $(TESTS)
	@echo '==> ruff check'
	@$(BIN)/python -m ruff check .
	@echo '==> ruff format --check'
	@$(BIN)/python -m ruff format --check .
	@echo '==> mypy'
	@$(BIN)/python -m mypy
	@echo '==> lint-imports'
	@$(BIN)/lint-imports --no-logo
	@echo '==> biome check'
	@if [ -x $(BIN)/biome ]; then $(BIN)/biome check --error-on-warnings; else echo 'no biome for this machine'; fi

# WordNet, Fashion-MNIST and Chromium, where they are not installed; without, some tests are skipped, and counted.
data:
	@$(PYTHON) tests/debian_data.py

bench: $(TESTS)
	@echo '==> benchmarks.analyze'
	@$(BIN)/python -m benchmarks.analyze $(ARGS)

soak: $(TESTS) data
	@echo '==> pytest -m soak'
	@$(BIN)/python -m pytest -q -m soak $(ARGS)
	@echo '==> pytest -m hypothesis, with fresh seeds'
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m hypothesis --hypothesis-profile=fresh

FUZZ_SECONDS ?= 3600
fuzz: $(TESTS) data
	@echo '==> tests/fuzz.py'
	@OMP_NUM_THREADS=1 $(BIN)/python tests/fuzz.py --write --seconds $(FUZZ_SECONDS) $(ARGS)

mutants: $(TESTS) data
	@echo '==> tests/mutants.py'
	@$(BIN)/python tests/mutants.py --write --workers $(WORKERS) $(ARGS)

# The commit before the mends.
BEFORE ?= 0be3a07
defects: $(TESTS) data
	@echo '==> tests/defects.py'
	@$(BIN)/python tests/defects.py --write --workers $(WORKERS) --before $(BEFORE)

# pip may complain for the linters, which are not called here.
measures: $(TESTS)
	@$(BIN)/python tests/measures_page.py

pictures: $(TESTS) data
	@$(BIN)/python tests/pictures.py
	@$(MAKE) --no-print-directory measures

# Needs no network once that is installed; a test builds it too, as strictly.
docs: $(DOCS)
	@echo '==> mkdocs build'
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo 'open site/index.html'

# Without the demo's default data, which is the source of the installed versions and so another data set here, and without fully_shard, which
# torch.distributed.fsdp has since PyTorch 2.6. What old releases warn of among themselves is no failure.
lowest: data
	@echo '==> installing the oldest allowed dependencies into $(VENV)-lowest'
	@$(MAKE) --no-print-directory VENV=$(VENV)-lowest install
	@$(VENV)-lowest/bin/python -m pip install --quiet --quiet --disable-pip-version-check --requirement constraints-lowest.txt --editable .
	@echo '==> pytest'
	@OMP_NUM_THREADS=1 $(VENV)-lowest/bin/python -m pytest -q -n $(WORKERS) --dist loadfile \
		-W default --deselect tests/test_demo.py::TestSnippets --ignore tests/test_fsdp.py \
		--deselect tests/test_models.py::test_sharded_models_are_refused_in_a_sentence \
		--deselect tests/test_models.py::test_a_model_under_fully_shard_is_captured_as_without $(ARGS)

clean:
	rm -rf $(VENV) $(VENV)-lowest .data build dist site featlab-demo .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
