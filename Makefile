# Everything a person or CI does with a checkout. Needs make and Python 3.11 or newer, nothing else.
#
#   make demo                  the customer-churn reference system, from raw data to live answers
#   make demo ARGS=--no-serve  the same, ending after the first answers
#   make test ARGS="-k gate"   the test suite, or a part of it

VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
PIP    := $(BIN)/python -m pip --quiet --disable-pip-version-check
SHELL  := /bin/sh
ARGS   ?=

# `make PYTHON=/path/to/python install` names an interpreter; otherwise the first that is new enough.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { command -v "$$p"; break; }; done)

.DEFAULT_GOAL := help
.PHONY: help install demo test lint format types architecture docs check lock build clean

help:  ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

$(STAMP): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { \
		echo "Charter needs Python 3.11 or newer; python3 here is: $$(python3 --version 2>&1 || echo missing)." >&2; \
		echo "Install one, or name it: make PYTHON=/path/to/python3.12 install" >&2; exit 2; }
	@echo "Preparing $(VENV) with $$($(PYTHON) --version): once, about half a minute"
	@test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV) || { rm -rf $(VENV); \
		echo "$(PYTHON) cannot make virtual environments; on Debian or Ubuntu: apt-get install python3-venv" >&2; exit 2; }
	@$(PIP) install --no-compile --require-hashes -r requirements.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

install: $(STAMP)  ## Prepare .venv from the lock file (a second run does nothing)

demo: $(STAMP)  ## Run the customer-churn demo and leave it serving (ARGS=--no-serve ends it)
	@$(BIN)/charter demo customer-churn $(ARGS)

test: $(STAMP)  ## Run the tests
	@$(BIN)/python -m pytest $(ARGS)

lint: $(STAMP)  ## Style and common faults
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(STAMP)  ## Put the style right
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(STAMP)  ## Strict types
	$(BIN)/mypy

architecture: $(STAMP)  ## Who may import whom
	$(BIN)/lint-imports

docs: $(STAMP)  ## Build the documentation into site/
	@$(BIN)/python docs/fields.py
	$(BIN)/mkdocs build --strict --quiet

check: lint types architecture docs test  ## All of the above

build: $(STAMP)  ## Wheel and source distribution into dist/
	$(BIN)/python -m build --no-isolation

# Only this target needs uv (`pip install uv`). The header stays free of machines and paths.
lock:  ## Renew requirements.lock: newest versions, hashes for every platform
	@uv=$$(command -v uv || echo $(BIN)/uv); { \
		echo "# Every package of Charter's base, serve, train and dev extras, for Python 3.11 and newer on any platform."; \
		echo "# Made by \`make lock\` from pyproject.toml; installed by \`make install\` with --require-hashes."; \
		"$$uv" pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
			--no-emit-index-url --no-emit-find-links --no-annotate --no-header --quiet $(ARGS); \
	} > requirements.lock.new && mv requirements.lock.new requirements.lock

clean:  ## Remove what was built, .venv included; workspaces and data stay
	rm -rf .venv site dist build htmlcov .coverage .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
