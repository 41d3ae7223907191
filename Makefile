# `make train`, `make label` and `make test` each set up a fresh machine (virtual environment included) and then do the job.

PYTHON ?= python3
VENV   ?= .venv
# Worker processes of the test-suite.
JOBS   ?= 2
# For a build of PyTorch other than the package index's, e.g. the CPU one (see README.md).
TORCH_INDEX ?=
# What `make label` serves: a folder of studies (six phantoms if there is none), and where.
STUDIES ?=
PORT ?= 8000

BIN    := $(VENV)/bin
STAGING := bundles/staging

# Constraints reach the isolated build environment only through the environment.
export PIP_CONSTRAINT := constraints.txt
export PIP_BUILD_CONSTRAINT := constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help train label test lint format docs audit clean

help: ## show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | \
	  while IFS="$$(printf '\t')" read -r name text; do printf '  make %-8s %s\n' "$$name" "$$text"; done

$(BIN)/pip:
	@echo "Making a virtual environment in $(VENV)"
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.10 or newer is needed, $(PYTHON) is " + sys.version.split()[0] if sys.version_info < (3, 10) else 0)'
	@$(PYTHON) -m venv $(VENV) || { echo "The venv module is missing (Debian, Ubuntu: apt-get install python3-venv)"; exit 1; }

# One stamp per set of packages: installed again only when what is to be installed has changed.
define install
	@echo "Installing $(1) into $(VENV), a few minutes the first time"
	$(if $(TORCH_INDEX),@$(BIN)/pip install -qq --index-url $(TORCH_INDEX) torch)
	@$(BIN)/pip install -qq -e '$(1)'
	@touch $@
endef

$(VENV)/.base: $(BIN)/pip setup.cfg constraints.txt
	$(call install,.)

$(VENV)/.dev: $(BIN)/pip setup.cfg constraints.txt
	$(call install,.[dev])
	@touch $(VENV)/.base

$(VENV)/.docs: $(VENV)/.base setup.cfg constraints.txt
	$(call install,.[docs])

# Without dependencies: see requirements-label.txt.
$(VENV)/.label: $(VENV)/.base requirements-label.txt
	@echo "Installing MONAI Label into $(VENV)"
	@$(BIN)/pip install -qq --no-deps -r requirements-label.txt
	@touch $@

train: $(VENV)/.base ## train and evaluate the staging network on the default phantom cohort
	@$(BIN)/python -m monai.bundle run --config_file $(STAGING)/train.json
	@echo "(mlflow is in $(BIN): put it on the path with . $(BIN)/activate)"

label: $(VENV)/.label ## serve STUDIES=DIR for annotation in 3D Slicer, on PORT
	@$(BIN)/monai-staging label $(if $(STUDIES),--studies "$(STUDIES)") --port $(PORT)

# A file's tests share what they train. Files go to the workers in the order of their names: those that take minutes
# (tests/bundles) first, not those of the most tests, or one of them would be left for the end.
test: $(VENV)/.dev $(VENV)/.label ## run the test-suite with branch coverage
	@$(BIN)/python -m pytest -q -n $(JOBS) --dist loadfile --no-loadscope-reorder --durations 10 \
	  --cov --cov-report term --cov-fail-under 90

lint: $(VENV)/.dev ## ruff, formatting, and mypy (strict) on the package
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: $(VENV)/.dev ## sort imports and format the code
	@$(BIN)/ruff check --fix --select I .
	@$(BIN)/ruff format .

docs: $(VENV)/.docs ## build the documentation; a warning is an error
	@$(BIN)/sphinx-build -q -W --keep-going -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

audit: ## compare the pinned packages with known advisories (asks pypi.org)
	@$(PYTHON) -m venv $(VENV)/audit
	@$(VENV)/audit/bin/pip install -qq 'pip-audit>=2.7'
	@$(VENV)/audit/bin/pip-audit --strict --no-deps --disable-pip --progress-spinner off -r constraints.txt

clean: ## remove the virtual environment, caches and built files; runs and data stay
	rm -rf $(VENV) build dist *.egg-info docs/_build htmlcov .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find monai_staging tests scripts docs -name __pycache__ -type d -prune -exec rm -rf {} +
