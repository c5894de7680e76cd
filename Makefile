PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test lint docs wheel clean

demo: $(VENV)/cloudfree
	$(BIN)/cloudfree demo -o demo_output

# A thread for each test: matrices here are small, and threads of two tests get in each other's way. One test more than
# there are cores, because many wait for a process or a server.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --dist worksteal \
		--numprocesses $(shell $(PYTHON) -c "import os; print((os.cpu_count() or 1) + 1)")

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The site, in build/site; a warning is an error. Material's word on MkDocs 2, which is not used, is no warning of ours.
docs: $(VENV)/docs
	NO_MKDOCS_2_WARNING=true $(BIN)/mkdocs build --strict --quiet

wheel: $(VENV)/installed
	$(BIN)/python -m build --wheel

# What a run needs, and then what development needs besides.
$(VENV)/cloudfree: pyproject.toml constraints.txt
	@echo "Installing cloudfree into $(VENV) (1.3 GB, one to three minutes)."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/installed: $(VENV)/cloudfree
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

$(VENV)/docs: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $@

clean:
	rm -rf $(VENV) build/site dist demo_output
