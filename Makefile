# Everything a newcomer types. Needs make and Python 3.11 or later, and nothing else: no Java, no Docker.

# The first Python on the PATH that is new enough; `make demo PYTHON=/path/to/python` chooses another.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
EXTRAS := .[learner,broker,otel,tensorboard,mlflow,dev]
# Given to the installer: INSTALL_ARGS="--extra-index-url …" takes torch from another index.
INSTALL_ARGS ?=
# Given to the command behind the target: make demo ARGS="--once", make test ARGS="tests/unit/learner/data".
ARGS ?=
# Processes that `make test` shares the tests among, as many as a small machine has cores; 0: none but pytest's own.
AT_ONCE ?= 2

.DEFAULT_GOAL := help
.PHONY: help setup demo test drills deploy-check lint audit sbom bench soak clean

help: ## say what each target does
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s%s\n", $$1, $$2 }' Makefile

setup: $(INSTALLED) ## install into .venv and compile the kernels, and do nothing else

# pip itself takes minutes over what uv does in seconds; it remains for machines where only pip is set up
# to reach a package index. Where processes may not write what they have compiled, as in many containers, modules are
# compiled here: else torch would cost each process seconds again.
COMPILED := $(if $(PYTHONDONTWRITEBYTECODE),--compile-bytecode)
$(INSTALLED): pyproject.toml
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 or later on the PATH; install one, or say where it is: make $(MAKECMDGOALS) PYTHON=/path/to/python" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and f"error: {sys.executable} is Python {v[0]}.{v[1]}, 3.11 or later is needed: make PYTHON=/path/to/python")'
	@echo "installing into $(VENV) with $$($(PYTHON) --version); the learner's torch is large"
	@$(PYTHON) -m venv $(VENV) || { echo "error: cannot make a virtual environment; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet uv || true
	@if test -x $(BIN)/uv && $(BIN)/uv pip install $(COMPILED) --python $(BIN)/python $(INSTALL_ARGS) -e '$(EXTRAS)'; then :; else \
		echo "uv could not install it; trying pip"; \
		$(BIN)/python -m pip install $(INSTALL_ARGS) -e '$(EXTRAS)'; fi
	@echo "compiling kernels, so that nothing has to at its first start: a minute or two"
	@$(BIN)/nextclick compile
	@touch $(INSTALLED)

demo: $(INSTALLED) ## watch recommendations change with live clicks (ARGS="--once --report out.json")
	$(BIN)/nextclick demo $(ARGS)

test: $(INSTALLED) ## run every test but the drills, with a real broker (ARGS="-k …" or a folder for some)
	$(BIN)/python -m tests.prepare
	$(BIN)/python -m pytest --ignore=tests/bench -m "not drill" -n $(AT_ONCE) --dist worksteal $(ARGS)

drills: $(INSTALLED) ## run the tests that take minutes, one by one (ARGS as for test)
	$(BIN)/python -m tests.prepare
	$(BIN)/python -m pytest --ignore=tests/bench -m drill --durations=0 --durations-min=1 $(ARGS)

deploy-check: $(INSTALLED) ## check what is in deploy/ with the tools that read it, as far as they can be had
	$(BIN)/python -m deploy.check

lint: $(INSTALLED) ## check style, types and which package may import which
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

audit: $(INSTALLED) ## look for known weaknesses of what is installed, where their list can be reached
	$(BIN)/pip-audit --skip-editable --progress-spinner off $(ARGS)

sbom: $(INSTALLED) ## write what is installed, by name, version and licence, to sbom.json (CycloneDX)
	$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --of JSON -o sbom.json $(BIN)/python

bench: $(INSTALLED) ## measure freshness and throughput beside a floor that does nothing (ARGS="--help")
	$(BIN)/python tests/bench/bench_load.py $(ARGS)

soak: $(INSTALLED) ## run for half an hour under load while everything happens (ARGS="--minutes 5")
	PYTHONPATH=. $(BIN)/python tests/bench/soak.py $(ARGS)

clean: ## remove what was installed and what runs have left here
	rm -rf $(VENV) .nextclick build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
