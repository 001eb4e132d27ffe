# `make app` opens the page, `make test` runs the tests. Both need Python 3.11 or newer with pip, and make.

PYTHON ?= python3
PORT ?= 8502
VENV := .venv
BIN := $(VENV)/bin

.PHONY: app test check format bench model clean

app: $(VENV)/app.stamp
	$(BIN)/streamlit run feature_activation_tracker.py --server.port $(PORT)

test: $(VENV)/dev.stamp
	$(BIN)/python -m pytest $(TESTS)

check: $(VENV)/dev.stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/basedpyright

format: $(VENV)/dev.stamp
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# benchmarks.peers wants other libraries and benchmarks.gpu a GPU: docs/benchmarks.md has their commands.
bench: $(VENV)/dev.stamp
	$(BIN)/python -m benchmarks.trace
	$(BIN)/python -m benchmarks.page
	$(BIN)/python -m benchmarks.circuits $(if $(CORPUS),--corpus $(CORPUS))

# Fetches and converts the built-in model ahead of the first analysis.
model: $(VENV)/app.stamp
	$(BIN)/python -m model fetch

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis

# A stamp is newer than its requirements once they are installed, so a second run installs nothing.
$(VENV)/app.stamp: requirements.txt | $(BIN)/pip
	$(BIN)/python -m pip install -r requirements.txt
	@touch $@

$(VENV)/dev.stamp: requirements-dev.txt requirements.txt | $(BIN)/pip
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
