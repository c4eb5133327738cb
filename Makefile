# The commands of this project. `make help` lists them.
# Everything runs from .venv, which is made when it is missing and brought up to date when a lock changes.

VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.9

# The first interpreter that is new enough. Another one: make PYTHON=/path/to/python …
PYTHON ?= $(firstword $(foreach name,python3.12 python3.11 python3,$(if $(shell $(name) -c 'import sys; print(sys.version_info >= (3, 11) or "")' 2>/dev/null),$(name))))

# Processes that the tests run in. Each starts servers of its own, and some take a gigabyte.
WORKERS ?= 2

# Docker Compose as this machine has it.
COMPOSE ?= $(if $(shell docker compose version 2>/dev/null),docker compose,docker-compose)

# A development environment serves the demo, too; on its own the demo needs less.
FOR_DEMO = $(if $(wildcard $(VENV)/.dev),$(VENV)/.dev,$(VENV)/.demo)

.DEFAULT_GOAL := help
.PHONY: help demo demo-compose test test-spark lint types proto up down bench bench-candidates bench-embedding bench-ranker install lock wheel clean

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(FOR_DEMO) ## The whole path on MovieLens with five local processes
	$(BIN)/fusionrec demo

demo-compose: $(FOR_DEMO) up ## The same through the containers; leaves them running (make down)
	$(BIN)/fusionrec demo --compose

test: $(VENV)/.dev ## All tests, in two processes (one: make test WORKERS=0)
	$(BIN)/python -m pytest --numprocesses=$(WORKERS)

test-spark: $(VENV)/.dev ## The tests of the Spark engine, which brings a JDK along
	scripts/test_spark.sh

lint: $(VENV)/.dev ## Style, import contracts, protos, drift of the generated code
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports
	$(BIN)/buf lint
	scripts/gen_protos.sh --check

types: $(VENV)/.dev ## mypy, strict
	$(BIN)/mypy

proto: $(VENV)/.dev ## Format and lint the protos, generate shared/gen anew
	$(BIN)/buf format -w
	$(BIN)/buf lint
	scripts/gen_protos.sh

up: ## Build and start the containers (five local processes instead: fusionrec up)
	$(COMPOSE) up -d --build

down: ## Stop the containers; their volumes stay
	$(COMPOSE) down

bench: $(VENV)/.dev ## The figures of the README
	$(BIN)/python -m benchmarks.run

bench-candidates: $(VENV)/.dev ## The figures of the candidates service alone
	$(BIN)/python -m benchmarks.candidates

bench-embedding: $(VENV)/.dev ## The figures of the embedding service alone
	$(BIN)/python -m benchmarks.embedding

bench-ranker: $(VENV)/.dev ## The figures of the ranker's fusion functions
	$(BIN)/python -m benchmarks.ranker

install: $(VENV)/.dev ## The development environment

lock: $(VENV)/.dev ## Pin everything anew from pyproject.toml (UPGRADE=1: newest versions)
	scripts/lock.sh

wheel: $(VENV)/.dev ## The client package, into dist/
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

clean: ## Caches and build output; .venv and data stay
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +

# One stamp per lock: the environment holds what the lock says.
$(VENV)/.%: requirements/%.lock scripts/link_tree.py | $(BIN)/python
	@echo "installing requirements/$*.lock"
	@$(call install,requirements/$*.lock)
	@$(BIN)/python scripts/link_tree.py
	@touch $@

# uv is much faster; pip does the same where uv cannot be had or cannot reach the index.
define install
{ $(BIN)/uv --version >/dev/null 2>&1 || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION); } \
	&& $(BIN)/uv pip install --python $(BIN)/python --no-deps -r $(1) \
	|| { echo "uv cannot install it: trying pip"; \
	     $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r $(1); }
endef

$(BIN)/python:
	@if [ -z "$(PYTHON)" ]; then \
	  echo "Python 3.11 or newer is needed, and neither python3.12, python3.11 nor python3 is: install one," >&2; \
	  echo "or say where it is: make PYTHON=/path/to/python" >&2; exit 1; \
	fi
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "$(PYTHON) is Python " + sys.version.split()[0] + ": 3.11 or newer is needed (make PYTHON=/path/to/python)")'
	$(PYTHON) -m venv $(VENV)
