# `make app` opens the page, to this machine alone; `make app ADDRESS=0.0.0.0` opens it to all who can reach the machine.
# `make test` runs the tests, `make check` checks format, lint, imports and types. They need Python 3.11 or newer with
# pip, and make.

PYTHON ?= python3
PORT ?= 8502
ADDRESS ?= 127.0.0.1
VENV := .venv
BIN := $(VENV)/bin
FAST := not browser and not gpu and not model and not shared and not slow
# Two processes, each with a thread: on small models a process's threads mostly wait for each other.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

.PHONY: app test test-fast fuzz coverage check format bench model requirements wheel-test clean

app: $(VENV)/app.stamp
	$(BIN)/streamlit run feature_activation_tracker.py --server.port $(PORT) --server.address $(ADDRESS)

test: $(VENV)/dev.stamp
	$(PYTEST) $(TESTS)

# What tells within a minute whether a change is sound: no model, no browser, nothing slow.
test-fast: $(VENV)/dev.stamp
	$(PYTEST) -m "$(FAST)" $(TESTS)

# Inputs that a machine makes up. `make test` tries 200 of each kind.
fuzz: $(VENV)/dev.stamp
	OMP_NUM_THREADS=1 FUZZ_CASES=10000 FORWARDS=20000 $(BIN)/python -m pytest --timeout 3600 tests/fuzz tests/model/test_hooks.py

# All tests, counting the lines they run. Counting makes them a fifth slower, so CI does it and `make test` doesn't.
coverage: $(VENV)/dev.stamp
	$(PYTEST) --cov --cov-report=term:skip-covered $(TESTS)

check: $(VENV)/dev.stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/basedpyright

format: $(VENV)/dev.stamp
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# benchmarks.peers wants other libraries and benchmarks.gpu a GPU: docs/benchmarks.md has their commands.
bench: $(VENV)/dev.stamp
	$(BIN)/python -m benchmarks.startup
	$(BIN)/python -m benchmarks.trace
	$(BIN)/python -m benchmarks.page
	$(BIN)/python -m benchmarks.circuits $(if $(CORPUS),--corpus $(CORPUS))

# Fetches and converts the built-in model ahead of the first analysis.
model: $(VENV)/app.stamp
	$(BIN)/python -m feature_tracker fetch

# Writes the pins from pyproject.toml. What is pinned stays; for newer releases: make requirements UPGRADE=--upgrade
requirements: $(VENV)/dev.stamp
	$(BIN)/uv pip compile -q $(UPGRADE) pyproject.toml --extra search --extra test -o requirements.txt
	$(BIN)/uv pip compile -q $(UPGRADE) pyproject.toml --extra dev -c requirements.txt -o requirements-dev.txt
	$(BIN)/uv pip compile -q $(UPGRADE) pyproject.toml --extra dev --extra peers -c requirements-dev.txt -o requirements-peers.txt

# Installs the wheel and all it needs into an empty environment elsewhere, and traces a text there. The tests do it faster,
# with the libraries of this environment.
wheel-test: $(VENV)/dev.stamp
	rm -rf dist
	$(BIN)/hatchling build -t wheel -d dist
	folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && \
		$(BIN)/python -m venv "$$folder/venv" && \
		"$$folder/venv/bin/python" -m pip install -q -c requirements.txt dist/*.whl && \
		cd "$$folder" && venv/bin/feature-tracker trace "Net sales rose 5.4%."

clean:
	rm -rf $(VENV) .coverage .hypothesis .import_linter_cache .pytest_cache .ruff_cache dist

# A stamp is newer than its requirements once they are installed, so a second run installs nothing.
$(VENV)/app.stamp: requirements.txt | $(BIN)/pip
	$(BIN)/python -m pip install -r requirements.txt
	@touch $@

$(VENV)/dev.stamp: requirements-dev.txt | $(BIN)/pip
	$(BIN)/python -m pip install -r requirements-dev.txt
	@touch $(VENV)/app.stamp $@

# Debian keeps what puts pip into an environment in a package of its own, python3-venv; pip itself can do it, too.
$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed. Name one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV) >/dev/null 2>&1 || \
		{ $(PYTHON) -m venv --clear --without-pip $(VENV) && \
		  $(PYTHON) -m pip --python $(BIN)/python install --quiet --disable-pip-version-check pip; } || \
		{ rm -rf $(VENV); echo "$(PYTHON) can't make a virtual environment here (on Debian: apt install python3-venv)." >&2; exit 1; }
