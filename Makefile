# `make demo` and `make test` need Python 3.11 or newer, make and a package index; they install the rest into .venv.
# the first Python that fits is taken; PYTHON=... names another
PYTHON ?=
VENV ?= .venv
OUTPUT ?= results/demo
RUN := $(VENV)/bin/python -m

.PHONY: demo test lint types layers tests format catalog mutants clean

demo: $(VENV)/.installed-demo
	$(RUN) evalharness run --model all-MiniLM-L6-v2 --suite starter --output $(OUTPUT)
	$(RUN) evalharness report $(OUTPUT) --suite starter --output $(OUTPUT)/report.md
	@cat $(OUTPUT)/report.md

test: lint types layers tests

lint: $(VENV)/.installed-dev
	$(RUN) ruff check .
	$(RUN) ruff format --check .

types: $(VENV)/.installed-dev
	$(RUN) mypy

layers: $(VENV)/.installed-dev
	$(VENV)/bin/lint-imports

tests: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(RUN) pytest -n auto --dist loadfile

format: $(VENV)/.installed-dev
	$(RUN) ruff check --fix .
	$(RUN) ruff format .

# what mteb knows of tasks and benchmarks, as data; run it after raising the pinned mteb
catalog: $(VENV)/.installed-dev
	$(RUN) evalharness.mteb_catalog

# do the tests notice when the code changes? takes an hour or so; MOST=400 tries all
mutants: $(VENV)/.installed-mutants
	$(VENV)/bin/python benchmarks/mutants.py results/mutants --most $(or $(MOST),24)

$(VENV)/bin/python:
	@python=$$($(SHELL) ./find-python.sh $(if $(PYTHON),"$(PYTHON)")) && echo "$$python -m venv $(VENV)" && "$$python" -m venv $(VENV)

$(VENV)/.installed-%: $(VENV)/bin/python pyproject.toml constraints.txt
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[$*]"
	@touch $@

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
