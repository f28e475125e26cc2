# The two commands are `make demo` and `make test`; both set everything up first and may be repeated.
# They need Python 3.11 or newer and a package index; no model hub, no GPU.

PYTHON ?= python3
FMLAB_HOME ?= $(CURDIR)/.fmlab
export FMLAB_HOME

BIN := .venv/bin
READY := .venv/ready
TESTS_READY := .venv/tests-ready

.PHONY: setup demo app test test-all check benchmarks

setup: $(READY)

$(READY): requirements.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

$(TESTS_READY): $(READY) tests/requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r tests/requirements.txt
	touch $@

demo: setup           ## build the phantom dataset, start the demo study, open the app
	$(BIN)/fmlab demo

app: setup            ## open the app on the home as it is
	$(BIN)/fmlab app

# Files are handed out in their own order: by the number of their tests, those with few long ones would come last.
test: $(TESTS_READY)  ## lint and the tests, under 8 minutes on 2 cores
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile --no-loadscope-reorder

test-all: $(TESTS_READY)  ## and the long ones, under 45 minutes
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

benchmarks: $(TESTS_READY)  ## speed and memory against what a user would use instead
	$(BIN)/python -m benchmarks
