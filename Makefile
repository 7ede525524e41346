# make book and make test set up all they need in .venv; no environment has to be activated.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PAGE := build/book/_build/html/index.html
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check --no-input

# Idle threads of one process must not spin while another works (GNU OpenMP spins by default).
export GOMP_SPINCOUNT := 1000
# ipykernel's debugger warns about frozen modules; no notebook is debugged here.
export PYDEVD_DISABLE_FILE_VALIDATION := 1

# What the rendered book is made of; generated pages are results, not sources.
SOURCES := $(shell find src notebooks book _config.yml -type f -not -path 'book/chapters/*' -not -path '*/__pycache__/*' -not -path '*.egg-info/*')

.DEFAULT_GOAL := help
.PHONY: help book test bench lint clean browser

help: ## show this list
	@sed -n 's/^\([a-z]*\):.*## /make \1\t/p' $(MAKEFILE_LIST)

book: $(VENV)/installed ## execute what changed and build the book; prints the path of its first page
	@$(BIN)/multielbo book

test: $(VENV)/installed browser $(PAGE) ## run all tests, those of the rendered pages included
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -q

bench: $(VENV)/bench ## time the training step and the builders; prints a line for each
	@set -e; for script in tests/benchmarks/[!_]*.py; do env -u GOMP_SPINCOUNT $(BIN)/python $$script; done

lint: $(VENV)/installed ## check style and spelling
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/codespell

clean: ## remove what was built, but not the environment
	rm -rf build book/chapters

$(PAGE): $(VENV)/installed $(SOURCES)
	@$(BIN)/multielbo book

$(VENV)/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed, $(PYTHON) is not: try make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "setting up $(VENV): a few minutes the first time"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) install -c constraints.txt -e '.[book,data,test,grid]'
	@touch $@

# Where no browser can be had, this and the tests say so; in CI both fail.
browser: $(VENV)/installed
	@$(BIN)/python tests/chromium.py

$(VENV)/bench: $(VENV)/installed
	@$(PIP) install -c constraints.txt -e '.[bench]'
	@touch $@
