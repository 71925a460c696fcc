# `make` or `make help` lists the targets. Each needs nothing but Python >= 3.10, and may be repeated.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Compiled at once: where the environment forbids to write .pyc files, each process would compile torch and Lightning anew.
PIP = $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help install install-dev demo test check wheel docs bench clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/uv:
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 10), "Python 3.10 or newer is needed: make PYTHON=python3.12"'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade uv

$(VENV)/installed: pyproject.toml constraints.txt | $(BIN)/uv
	$(PIP) --editable .
	@touch $@

$(VENV)/installed-dev: pyproject.toml constraints.txt | $(BIN)/uv
	$(PIP) --editable '.[dev]'
	@touch $@ $(VENV)/installed

install: $(VENV)/installed  ## create .venv and install ltmed

install-dev: $(VENV)/installed-dev  ## the same with everything for tests, docs and exports

demo: $(VENV)/installed  ## ERM and two remedies for rare classes on embedded images, and a report
	$(BIN)/ltmed demo

check: $(VENV)/installed-dev  ## lint and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright

test: check  ## lint, types and all tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

wheel: $(BIN)/uv  ## build the wheel, install it into an empty environment, use it from an empty folder
	.ci/wheel $(BIN)/uv $(BIN)/python

docs: $(VENV)/installed-dev  ## build the site into docs/_build/html; warnings are errors
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html

bench: $(VENV)/installed-dev  ## speed against reference implementations, as ratios
	$(BIN)/python -m tests.bench

clean:  ## remove .venv and caches; runs/ stays
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
