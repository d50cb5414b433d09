# Two commands for a newcomer: `make demo` runs a search, `make test` passes the tests.
# Both set up a virtual environment in .venv and need Python 3.10 or newer.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
SEARCHERS = optuna,hyperopt,nevergrad,bohb,bayesopt,zoopt

.PHONY: demo test test-all lint quick faults install clean-venv

demo: $(VENV)/.demo
	$(BIN)/python -m experiments.outer with hyperparameter_search

# Most of a test is waiting for Ray to start; those that measure time run by themselves.
test: lint
	$(BIN)/python -m pytest -n 3 --dist loadscope -m "not alone and not long"
	$(BIN)/python -m pytest -m alone

# Takes half an hour.
test-all: lint
	$(BIN)/python -m pytest -n 2 --dist loadscope -m "not alone"
	$(BIN)/python -m pytest -m alone

lint: $(VENV)/.all
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

quick: $(VENV)/.all
	$(BIN)/python -m pytest -m "not integration"

# What dies while sweeps run, each as often as docs/faults.md says; takes about an hour.
faults: $(VENV)/.all
	$(BIN)/python -m tests.faults --full

install: $(VENV)/.all

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: setup.cfg | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable ".[mongod]"
	touch $@

$(VENV)/.all: setup.cfg | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable ".[mongod,digits,$(SEARCHERS),test,lint]"
	touch $@ $(VENV)/.demo

clean-venv:
	rm -rf $(VENV)
