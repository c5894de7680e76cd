PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test lint man wheel clean

demo: $(VENV)/installed
	$(BIN)/cloudfree demo -o demo_output

# A thread for each test: matrices here are small, and threads of two tests get in each other's way.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist worksteal

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# What commands say of themselves, as manual pages; a test holds that they are of this day.
man: $(VENV)/installed
	$(BIN)/click-man --target docs/man --man-version 0.1.0 --man-date 2026-11-25 cloudfree

wheel: $(VENV)/installed
	$(BIN)/python -m build --wheel

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) dist demo_output
