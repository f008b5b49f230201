# Needs a Python (3.11 to 3.14) with venv, make and git; brings everything else itself.
# Another Python:  make test PYTHON=python3.13 VENV=.venv-3.13

PYTHON ?= python3
VENV ?= .venv
DEMO_VENV ?= .venv-demo
COMPONENTS := .components
COMPONENT_ENVS := node ministack sam checkov
ARGS ?=

BIN := $(VENV)/bin
UV := $(BIN)/uv
PROJECTS := . adapters/aws adapters/gcp

# Sets and dicts iterate alike in every process that runs workflow bodies.
export PYTHONHASHSEED := 0
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export UV_PYTHON_DOWNLOADS := never
# Tests start hundreds of processes: without a cache each would compile all that it loads.
unexport PYTHONPATH PYTHONHOME PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test check unit rehearse bench bench-peers storm corpus docs lint types format dist requirements clean

help: ## show this list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 22

# --- what people run -------------------------------------------------------------------------------------------------

demo: $(DEMO_VENV)/.installed ## install the core alone and watch a workflow survive the death of its worker
	@$(DEMO_VENV)/bin/python examples/signup/demo.py $(ARGS)

test: lint types $(COMPONENTS)/.installed ## install everything, then lint, types and all tests
	@$(BIN)/pytest -n 2 --dist worksteal -r fEs --durations 10 $(ARGS)

check: lint types unit ## lint, types and unit tests: within a minute

unit: $(VENV)/.installed ## unit tests
	@$(BIN)/pytest tests/unit -n 2 --dist worksteal $(ARGS)

rehearse: $(VENV)/.installed $(COMPONENTS)/.installed ## deploy for both clouds on this machine, and see runs, webhooks, streams and deaths there
	@$(BIN)/pytest tests/infra/test_rehearsal*.py tests/infra/test_gcp_rehearsal.py -n 0 -v -rfE --no-header $(ARGS)

bench: $(VENV)/.installed $(COMPONENTS)/.installed ## benchmarks, as JSON
	@$(BIN)/python -m benchmarks $(ARGS)

bench-peers: $(VENV)/.installed ## the same work on other engines, in environments of their own, as ratios
	@$(BIN)/python -m benchmarks.peers $(ARGS)

storm: $(VENV)/.installed $(COMPONENTS)/.installed ## the long suites: many processes, many deaths
	@$(BIN)/pytest -n 0 -m "long or not long" tests/storm tests/aws/test_deaths.py tests/aws/test_faulty_runs.py \
		tests/gcp/test_deaths.py $(ARGS)
	@$(BIN)/pytest -n 0 -m long tests/contract

corpus: $(VENV)/.installed ## add histories of this version to those that are replayed for ever
	@$(BIN)/python -m tests.corpus

docs: $(VENV)/.installed ## the documentation as a site, in build/docs/site
	@$(BIN)/python docs/site/build.py build/docs

dist: $(VENV)/.installed ## wheels and sdists of the three distributions, in dist: the same for the same commit
	@rm -rf dist
	@$(BIN)/python release/build.py dist

lint: $(VENV)/.installed ## ruff: rules and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(VENV)/.installed ## basedpyright, strict on the library, and mypy on what users see
	@$(BIN)/basedpyright --pythonpath $(BIN)/python
	@$(if $(wildcard tests/typing/*.py),$(BIN)/mypy)

format: $(VENV)/.installed ## let ruff mend what it can
	@$(BIN)/ruff check --quiet --fix-only .
	@$(BIN)/ruff format --quiet .

# --- environments: a stamp in each says that it is up to date --------------------------------------------------------

$(VENV)/.installed: requirements/dev.txt pyproject.toml adapters/aws/pyproject.toml adapters/gcp/pyproject.toml | $(UV)
	@echo "Installing the development environment into $(VENV) …"
	@$(UV) pip sync --quiet --python $(BIN)/python requirements/dev.txt
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation $(addprefix -e ./,$(PROJECTS))
	@touch $@

$(UV):
	@$(PYTHON) requirements/check_python.py
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --constraint requirements/dev.txt uv

$(DEMO_VENV)/.installed: requirements/core.txt pyproject.toml
	@$(PYTHON) requirements/check_python.py
	@echo "Installing the core into $(DEMO_VENV) …"
	@$(PYTHON) -m venv $(DEMO_VENV)
	@$(DEMO_VENV)/bin/python -m pip install --quiet --requirement requirements/core.txt
	@$(DEMO_VENV)/bin/python -m pip install --quiet --no-deps --editable .
	@touch $@

# What stands in for a cloud while tests run. Node's wheel is used where the machine has a node, too: one npm everywhere.
$(COMPONENTS)/.installed: $(wildcard requirements/components/*.txt) requirements/components/package.json | $(UV)
	@echo "Installing the components that tests start into $(COMPONENTS) …"
	@mkdir -p $(COMPONENTS)/npm
	@for name in $(COMPONENT_ENVS); do \
		$(UV) venv --quiet --clear --python $(BIN)/python $(COMPONENTS)/$$name && \
		$(UV) pip sync --quiet --python $(COMPONENTS)/$$name/bin/python requirements/components/$$name.txt || exit 1; \
	done
	@cp requirements/components/package.json $(COMPONENTS)/npm/
	@$(COMPONENTS)/node/bin/npm install --prefix $(COMPONENTS)/npm --loglevel error \
		--ignore-scripts --no-package-lock --no-audit --no-fund --no-update-notifier > /dev/null
	@touch $@

# --- upkeep ----------------------------------------------------------------------------------------------------------

COMPILE := $(UV) pip compile --quiet --universal --python-version 3.11 --no-header --no-emit-index-url

requirements: | $(UV) ## compile requirements/*.txt again (newer versions: ARGS=--upgrade)
	@$(COMPILE) $(ARGS) pyproject.toml requirements/core.in --output-file requirements/core.txt
	@$(COMPILE) $(ARGS) --extra http --extra crypto --extra pydantic --extra otel \
		pyproject.toml requirements/dev.in --output-file requirements/dev.txt
	@for name in $(COMPONENT_ENVS); do \
		$(COMPILE) $(ARGS) requirements/components/$$name.in --output-file requirements/components/$$name.txt || exit 1; \
	done

clean: ## remove environments, caches and builds
	@rm -rf $(VENV) $(DEMO_VENV) $(COMPONENTS) .hypothesis .mypy_cache .pythons .pytest_cache .ruff_cache .wdk build dist
	@find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +
