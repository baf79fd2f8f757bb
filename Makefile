# make dev | test | lint | bench: each sets up what it needs the first time (.venv, and npm's packages where Node is).
# Other Python: make test PYTHON=python3.13. More for pytest: make test ARGS="-k sync -x"; one process: WORKERS=0.

PYTHON ?= python3
ARGS ?=
# One more than there are processors: many tests wait, for a process to come up or for time to pass.
WORKERS ?= $(shell expr $$(nproc 2>/dev/null || echo 2) + 1)

VENV := .venv
BIN := $(VENV)/bin
DEPS := $(VENV)/.deps-installed
CLIENTS := tests/clients
CLIENT_DEPS := $(CLIENTS)/node_modules/.deps-installed

ifneq ($(wildcard $(CLIENTS)/package.json),)
ifneq ($(shell command -v npm 2>/dev/null),)
NODE_READY := $(CLIENT_DEPS)
endif
endif

.DEFAULT_GOAL := help
.PHONY: help setup dev test lint format bench clean

help: ## Show this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile

setup: $(DEPS) $(NODE_READY) ## Install everything that tests need

dev: $(DEPS) ## Serve the sample app on http://127.0.0.1:3210, with live reload
	@$(BIN)/reactor dev $(ARGS)

test: $(DEPS) $(NODE_READY) ## Run all tests
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

lint: $(DEPS) ## Check style, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

format: $(DEPS) ## Apply the style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(DEPS) ## Measure, each figure against its baseline
	$(BIN)/python -m benchmarks $(ARGS)

clean: ## Remove what was installed and cached (never data)
	rm -rf $(VENV) $(CLIENTS)/node_modules .pytest_cache .ruff_cache .mypy_cache .hypothesis .import_linter_cache

# A Debian without python3-venv makes half an environment: then it is removed, and the package installed or named.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "reactor needs Python 3.11 or newer; this is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.13" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv >/dev/null; \
		else \
			echo "Python's venv module is missing. On Debian and Ubuntu: sudo apt-get install python3-venv" >&2; exit 1; \
		fi; }
	@rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)

# Dependency groups need a pip of 2025; Debian's is older.
$(DEPS): pyproject.toml | $(BIN)/python
	@$(BIN)/python -c 'import sys, pip; sys.exit(tuple(map(int, pip.__version__.split(".")[:2])) < (25, 1))' || \
		$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable . --group dev
	@touch $@

$(CLIENT_DEPS): $(CLIENTS)/package.json $(wildcard $(CLIENTS)/package-lock.json)
	cd $(CLIENTS) && if [ -f package-lock.json ]; then npm ci --silent --no-audit --no-fund; else npm install --silent --no-audit --no-fund; fi
	@touch $@
