# `make` or `make help` lists the targets. They need only Python >= 3.10 and can be repeated safely.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Compile bytecode on installation: where .pyc files cannot be written later, every process would compile torch and Lightning again.
PIP = $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help install install-dev demo test check wheel docs bench clean

help:  ## list the targets
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

install-dev: $(VENV)/installed-dev  ## install ltmed with all dependencies for tests, docs and exports

demo: $(VENV)/installed  ## train ERM and two long-tail methods on generated images, and write a report
	$(BIN)/ltmed demo

check: $(VENV)/installed-dev  ## run the linter and the type checker
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright

test: check  ## run the linter, the type checker and all tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

wheel: $(BIN)/uv  ## build the wheel and test it in an empty environment and folder
	.ci/wheel $(BIN)/uv $(BIN)/python

docs: $(VENV)/installed-dev  ## build the documentation in docs/_build/html; warnings are errors
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html

bench: $(VENV)/installed-dev  ## measure speed relative to reference implementations
	$(BIN)/python -m tests.bench

clean:  ## remove .venv and caches, but not runs/
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
