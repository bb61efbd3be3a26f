# make run      install, then the main job on the embedded digits: five teachers made and judged in minutes
# make test     install, then lint, types and tests (what CI runs)
# make install  only .venv
# make dist     install, then dist/: wheel and sdist, checked

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: run install test lint types tests format docs tensorboard benchmarks dist clean

run: install
	$(BIN)/python tools/quickstart.py

install: $(INSTALLED)

$(INSTALLED): setup.cfg pyproject.toml Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "gendistill needs Python 3.11 or newer; set PYTHON=/path/to/python3.11"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
# Without its dependencies: it asks for TensorFlow, which nothing here needs. Only the tests of its bridge import it.
	$(BIN)/python -m pip install --quiet --no-deps torch-mimicry==0.1.16
	@touch $(INSTALLED)

test: lint types tests

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy

tests: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: install
	$(BIN)/python tools/api_page.py

tensorboard: install
	$(BIN)/gendistill tensorboard --logdir checkpoints

benchmarks: install
	$(BIN)/python benchmarks/run.py

dist: install
	rm -rf dist build
	$(BIN)/python -m build
	$(BIN)/python -m twine check --strict dist/*
	$(BIN)/python tests/installed/contents.py dist/*

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
