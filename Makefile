# `make demo` and `make test` need Python 3.11 or newer, make and a package index; they install the rest into .venv.
# the first Python that fits is taken; PYTHON=... names another
PYTHON ?=
VENV ?= .venv
OUTPUT ?= results/demo
RUN := $(VENV)/bin/python -m

TYPES := $(VENV)/types.txt
PYTEST := OMP_NUM_THREADS=1 $(RUN) pytest -n auto --dist loadfile --no-loadscope-reorder

.PHONY: demo environment test check soak lint types types-kept layers tests unit format catalog mutants clean

demo: $(VENV)/.installed-demo
	$(RUN) evalharness run --model all-MiniLM-L6-v2 --suite starter --output $(OUTPUT)
	$(RUN) evalharness report $(OUTPUT) --suite starter --output $(OUTPUT)/report.md
	@cat $(OUTPUT)/report.md

# what mypy says is kept and shown at the end: it takes a minute where nothing is cached, beside the tests
beside_types = @$(MAKE) --no-print-directory -j2 $(1) types-kept; code=$$?; cat $(TYPES); exit $$code

# every check
test: lint layers
	$(call beside_types,tests)

# while working: all but the slow tests
check: lint layers
	$(call beside_types,unit)

environment: $(VENV)/.installed-dev

# kills and full disks by the hundred, of which `make test` does a few
soak: $(VENV)/.installed-dev
	EVALHARNESS_SOAK=1 $(PYTEST) tests/e2e/test_kill.py tests/e2e/test_small_disks.py

lint: $(VENV)/.installed-dev
	$(RUN) ruff check .
	$(RUN) ruff format --check .

types: $(VENV)/.installed-dev
	$(RUN) mypy

types-kept: $(VENV)/.installed-dev
	@$(RUN) mypy > $(TYPES) 2>&1

layers: $(VENV)/.installed-dev
	$(VENV)/bin/lint-imports

tests: $(VENV)/.installed-dev
	$(PYTEST)

unit: $(VENV)/.installed-dev
	$(PYTEST) tests/unit

format: $(VENV)/.installed-dev
	$(RUN) ruff check --fix .
	$(RUN) ruff format .

# what mteb knows of tasks, benchmarks and models, as data; run it after raising the pinned mteb
catalog: $(VENV)/.installed-dev
	$(RUN) evalharness.data.mteb_catalog

# do the tests notice when the code changes? takes an hour or so; MOST=400 tries all
mutants: $(VENV)/.installed-mutants
	$(VENV)/bin/python benchmarks/mutants.py results/mutants --most $(or $(MOST),24)

$(VENV)/bin/python:
	@python=$$($(SHELL) ./find-python.sh $(if $(PYTHON),"$(PYTHON)")) && echo "$$python -m venv $(VENV)" && "$$python" -m venv $(VENV)

# most modules of the libraries are never imported; those that are, are compiled then
$(VENV)/.installed-%: $(VENV)/bin/python pyproject.toml constraints.txt
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt -e ".[$*]"
	@touch $@

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
