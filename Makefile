# Everything that is done to this template, by name. Needs git, make and Python 3.11 or later.

PYTHON ?= python3
PORT ?= 8000
ARGS ?=
ROUNDS ?=
CASES ?=
LAYERS ?=
CLIENTS ?=
SECONDS ?=
DURABILITY ?= replicated
KINDS ?=
PEERS ?=
DEMO ?= build
FRESH ?=

# uv from PATH, else one of our own in .tools. It uses the Python that you have and fetches none.
# The rendered projects' Makefiles find it on PATH too.
UV := $(if $(shell command -v uv 2>/dev/null),uv,.tools/bin/uv)
RUN := $(UV) run --locked
export PATH := $(PATH):$(CURDIR)/.tools/bin
export UV_PYTHON := $(or $(UV_PYTHON),$(shell $(PYTHON) -c 'import sys; print(sys.executable)' 2>/dev/null))
export UV_PYTHON_DOWNLOADS := never
# An environment that happens to be active is not this one's.
unexport VIRTUAL_ENV

TEMPLATE := {{cookiecutter.project_slug}}
# Without the development group: rendering takes cookiecutter alone.
BAKE := $(RUN) --no-dev cookiecutter . --no-input --default-config --overwrite-if-exists

.DEFAULT_GOAL := help
.PHONY: help demo test faults drops bench house lint format docs lock uv python

help: ## List the commands
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{ printf "%-14s %s\n", $$1, $$2 }'

# A project that is there may hold somebody's changes; it is rendered over only on demand.
demo: uv ## Render the default variant into build/ and serve it at http://127.0.0.1:8000 (PORT=8001 FRESH=1)
	@if [ -e $(DEMO)/my_chat ] && [ -z "$(FRESH)" ]; then \
	    echo "$(DEMO)/my_chat is there and stays as it is; make demo FRESH=1 renders the template over it."; \
	else $(BAKE) --output-dir $(DEMO) >/dev/null; fi
	@$(MAKE) --no-print-directory -C $(DEMO)/my_chat dev PORT=$(PORT)

test: lint ## Run everything: the template's tests and each variant's own lint and tests (ARGS="-k name")
	@$(RUN) pytest $(ARGS)

faults: uv ## Break Redis and processes of a rendered project under load, and count (ROUNDS=100 CASES=failover)
	@$(BAKE) --output-dir $(DEMO)/faults >/dev/null
	@$(MAKE) --no-print-directory -C $(DEMO)/faults/my_chat faults ROUNDS=$(or $(ROUNDS),10) CASES='$(CASES)' \
	    LAYERS='$(LAYERS)' DURABILITY=$(DURABILITY) ARGS='$(ARGS)'

drops: uv ## Cut clients of a rendered project off while messages flow, and count (CLIENTS=100 SECONDS=30 LAYERS=app)
	@$(BAKE) --output-dir $(DEMO)/faults >/dev/null
	@$(MAKE) --no-print-directory -C $(DEMO)/faults/my_chat drops CLIENTS=$(or $(CLIENTS),100) \
	    SECONDS=$(or $(SECONDS),30) LAYERS='$(LAYERS)' ARGS='$(ARGS)'

bench: uv ## Measure this tree against its peers, side by side (CASES="group" KINDS="queue" PEERS="fast_channels" ROUNDS=5 ARGS=--quick)
	@$(RUN) --project benchmarks python -m benchmarks --cases '$(CASES)' --kinds '$(KINDS)' --peers '$(PEERS)' \
	    --rounds $(or $(ROUNDS),5) $(ARGS)

house: uv ## Count what one has to read to follow a message: files, floors and circles of imports
	@$(RUN) --project benchmarks python -m benchmarks.house

lint: uv ## Check style, formatting and types of the template's own Python
	@$(RUN) ruff check
	@$(RUN) ruff format --check
	@$(RUN) mypy

format: uv ## Format the template's own Python, apply safe fixes, and copy the examples into docs
	@$(RUN) ruff check --fix
	@$(RUN) ruff format
	@$(RUN) python docs/inline.py

docs: uv ## Build the documentation into docs/_build; a warning is an error
	@$(RUN) --group docs sphinx-build --quiet --fail-on-warning docs docs/_build

lock: uv ## Refresh the lock files; the project's one gets its name back as a variable
	@$(UV) lock --upgrade
	@$(UV) lock --upgrade --project benchmarks
	@$(BAKE) --output-dir build/lock project_name="Lock Me" project_slug=lock_me >/dev/null
	@cd build/lock/lock_me && uv lock --upgrade
	@sed 's/^name = "lock-me"$$/name = "{{ cookiecutter.__distribution }}"/' \
	    build/lock/lock_me/uv.lock > '$(TEMPLATE)/uv.lock'

# The environment: a Python that is new enough, and uv.
uv: python $(filter .tools/%,$(UV))

python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "Python 3.11 or later is needed as $(PYTHON); name another: make PYTHON=python3.12" >&2; exit 1; }

.tools/bin/uv: | python
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	    echo "$(PYTHON) lacks venv: install it (Debian, Ubuntu: apt install python3-venv) or uv." >&2; exit 1; }
	@echo "Installing uv into .tools"
	@$(PYTHON) -m venv .tools
	@.tools/bin/python -m pip install --quiet --disable-pip-version-check 'uv>=0.5.3'
