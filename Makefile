# `make app` opens the page, `make test` runs the tests, `make check` is what a change must pass beside them.

PYTHON ?= python3
PORT ?= 8502
VENV := .venv
BIN := $(VENV)/bin

.PHONY: app test check bench format clean

app: $(VENV)/app.stamp
	$(BIN)/streamlit run feature_activation_tracker.py --server.port $(PORT)

test: $(VENV)/dev.stamp
	$(BIN)/python -m pytest

check: $(VENV)/dev.stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright

bench: $(VENV)/dev.stamp
	$(BIN)/python -m benchmarks.trace
	$(BIN)/python -m benchmarks.page

format: $(VENV)/dev.stamp
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name one with: make PYTHON=python3.11 app"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
		{ rm -rf $(VENV); echo "No virtual environment could be made; on Debian: apt install python3-venv"; exit 1; }

$(VENV)/app.stamp: requirements.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/dev.stamp: requirements.txt requirements-dev.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	# A comparison test alone needs this one; its own requirements are for training and would pull in much more.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps eai-sparsify==1.3.3
	@touch $@ $(VENV)/app.stamp
