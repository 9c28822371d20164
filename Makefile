# `make demo` and `make test` work on a fresh machine: they make a virtual environment, install, and run.
# PYTHON and VENV can be given: make test PYTHON=python3.12 VENV=/tmp/venv

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: help install demo test check format docs wheel clean

help:
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

install: $(INSTALLED)  ## make the virtual environment and install the project with its tools

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(INSTALLED)  ## train, evaluate and look, offline, on images made on the spot
	$(BIN)/invad demo --out runs/demo --overwrite

test: $(INSTALLED)  ## the tests; INVAD_TEST_DATA=FOLDER adds those on real images
	$(BIN)/python scripts/check.py tests

check: $(INSTALLED)  ## format, lint, strict types and tests: all that CI runs
	$(BIN)/python scripts/check.py

format: $(INSTALLED)  ## format the code
	$(BIN)/ruff check --fix --select I src tests benchmarks examples scripts
	$(BIN)/ruff format src tests benchmarks examples scripts

docs: $(INSTALLED)  ## build the pages of docs/ as a site in site/
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	$(BIN)/mkdocs build --strict

wheel: $(INSTALLED)  ## build the wheel, install it into a fresh environment and try it
	$(BIN)/python scripts/try_wheel.py

clean:  ## delete what was built
	rm -rf $(VENV) dist build site .mypy_cache .ruff_cache .pytest_cache
