# Two commands do all their own set-up from a bare clone with Python 3.11 or newer:
#   make quickstart   runs the main job      make test   runs the tests
# The CPU build of torch is pinned; on a GPU machine say TORCH=torch (or any requirement).
PYTHON ?= python3
TORCH ?= torch==2.13.0
VENV ?= .venv
BIN = $(VENV)/bin
STAMP = $(VENV)/.installed
QUICKSTART ?= quickstart
# Processes of the tests.
WORKERS ?= 2

.PHONY: quickstart test test-slow check bench clean

$(STAMP): pyproject.toml requirements.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check '$(TORCH)'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.txt -e '.[dev]'
	@touch $@

quickstart: $(STAMP)
	$(BIN)/apportion quickstart --dir $(QUICKSTART)

test: $(STAMP)
	$(BIN)/python -m pytest -q -n $(WORKERS)

check: $(STAMP)
	$(BIN)/ruff check src tests tools benchmarks
	$(BIN)/ruff format --check src tests tools benchmarks
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_layering.py tests/test_docs.py

bench: $(STAMP)
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/plan_scale.py
	$(BIN)/python benchmarks/crash_test.py

clean:
	rm -rf $(VENV) build dist $(QUICKSTART)
