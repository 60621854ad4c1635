# Everything runs in .venv, made from requirements.lock.  `make demo` and `make test` are the two to start with.

PYTHON ?= python3
BIN := .venv/bin
export BENTOML_HOME := $(CURDIR)/.bentoml
export BENTOML_DO_NOT_TRACK := true
export MLFLOW_DISABLE_TELEMETRY := true
export MLFLOW_ALLOW_PICKLE_DESERIALIZATION := false
# Bytecode is kept, whatever the shell says: test runs and services start many processes, each twice as fast with it.
export PYTHONDONTWRITEBYTECODE :=
# LightGBM's threads spin while they wait for each other; where another process wants the cores, that costs tenfold.
export OMP_WAIT_POLICY := PASSIVE
# pip takes two minutes for these packages and uv half a minute, so pip installs only uv, as the lock says.
# Compiled here: where Python may not write bytecode, each process would otherwise compile what it imports.
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
UV_INSTALL := $(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode

.PHONY: install demo serve ui test-fast test slow every thorough coverage torture lowest check static bench examine docs lock clean

install: .venv/installed

.venv/installed: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version) if sys.version_info < (3, 11) else 0'
	$(PYTHON) -m venv .venv
	sed -n '/^uv==/,/[^\\]$$/p' requirements.lock > .venv/uv.lock
	$(PIP) install --require-hashes -r .venv/uv.lock
	$(UV_INSTALL) --require-hashes -r requirements.lock
	$(UV_INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

demo: install
	$(BIN)/python -m training simulate
	$(BIN)/python -m training fit
	$(BIN)/python -m training promote
	$(BIN)/python -m serving pack
	$(BIN)/python -m training request --out data/request.json
	$(BIN)/python -m serving ask data/request.json --advice --start
	@echo
	@echo 'What to try next:'
	@echo '  make serve        the endpoint on http://127.0.0.1:3000, then in another shell:'
	@echo '                    $(BIN)/python -m serving ask data/request.json --advice'
	@echo '  make ui           the runs, with tables and figures, on http://127.0.0.1:5000'
	@echo '  $(BIN)/python -m training request --number 2 --out data/request.json      another account whose limit is cut'
	@echo '  $(BIN)/python -m serving explain data/request.json                        every stage of its decision'

serve: install
	$(BIN)/python -m serving run

ui: install
	$(BIN)/mlflow ui --backend-store-uri sqlite:///mlruns/mlflow.db --host 127.0.0.1 --port 5000

# A file's tests in one worker: what they share is made once.  (pytest-xdist's own groups do nothing under pytest 9.2, its issue 1386.)
TOGETHER := --dist loadfile --no-loadscope-reorder
PARALLEL := -n 2 $(TOGETHER)
# Tests that wait, for a service to start or to end, leave a core idle: a third worker takes it.
WAITING := -n 3 $(TOGETHER)

# A quarter of the drawn examples, where one waits; `make check` and `make thorough` draw all.
BRIEF := --hypothesis-profile=brief

# On the committed golden bundle: no fit, no simulation, no service, no database, no search for advice.  A plain `pytest` runs
# the same tests.
FAST := "not integration and not slow and not torture and not checked"
# With those that need a database, the search for advice or the libraries of training.
CHECKED := "not integration and not slow and not torture"
test-fast: install
	$(BIN)/python -m pytest -m $(FAST) $(PARALLEL) $(BRIEF)

# Everything that a fresh machine can run in a few minutes.
test: install
	$(BIN)/python -m pytest -m "not slow and not torture" $(WAITING) $(BRIEF)

# What `make test` leaves to CI: environments and services of a test's own, the pages and the first experiment as they are
# written, an examination, longer statistics.
slow: install
	$(BIN)/python -m pytest -m "slow and not torture" $(WAITING)

# All but torture in one run.
every: install
	$(BIN)/python -m pytest -m "not torture" $(WAITING)

# What `make check` leaves: with it, all but torture, and no test twice with fewer and with more cases.  CI runs both.
thorough: install
	$(BIN)/python -m pytest -m "(integration or slow) and not brief and not torture" $(WAITING) --durations=30

# The fast tests with the coverage of the code, which may not fall below its floor in pyproject.toml.  Only of these: counting
# every line makes the others take twice as long, and most of what they run is in other processes.
coverage: install
	$(BIN)/python -m pytest -m $(CHECKED) $(PARALLEL) --cov --cov-report=term:skip-covered

# Longer than a developer waits: the same promises over more accounts, a million accounts simulated, and the fast tests on the
# lowest versions that pyproject.toml declares.
torture: install lowest
	$(BIN)/python -m pytest -m torture

LOWEST := .cache/lowest
lowest: install
	rm -rf $(LOWEST)
	$(BIN)/uv venv --quiet --python $(BIN)/python $(LOWEST)
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(LOWEST)/bin/python --resolution lowest-direct --editable '.[dev]'
	$(LOWEST)/bin/python -m pytest -m $(CHECKED)

check: install
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(MAKE) --no-print-directory --jobs 2 static coverage

# Beside the fast tests, because both are single processes that leave a core idle.  mypy's own workers were rejected: on a busy
# machine they do not start within their three seconds, and mypy ends with an internal error.
static: install
	$(BIN)/mypy
	$(BIN)/lint-imports

# Beside DiCE too where the extra `peers` is installed; the lock leaves it out.
bench: install
	@mkdir -p .benchmarks
	$(BIN)/python -m pytest tests/benches -o python_files='bench_*.py' --benchmark-only \
	  --benchmark-save-data --benchmark-json=.benchmarks/latest.json
	$(BIN)/python tests/benches/table.py .benchmarks/latest.json docs/service/benchmarks.md

# Follow the advice and hold the reasons against the truth, on the default simulation; some four minutes.
EXAMINED := .cache/examined
examine: install
	rm -rf $(EXAMINED)
	$(BIN)/python -m training simulate --set first_month=2023-10-01 --out $(EXAMINED)/data
	$(BIN)/python -m training fit --data $(EXAMINED)/data --store $(EXAMINED)/mlruns
	$(BIN)/python -m training promote --data $(EXAMINED)/data --store $(EXAMINED)/mlruns
	$(BIN)/python -m training examine --data $(EXAMINED)/data --store $(EXAMINED)/mlruns --page docs/modelling/examination.md

# Every example and command in README and docs, run.
docs: install
	$(BIN)/python -m pytest tests/docs --doctest-modules features serving training

# Of everything, and of what the image holds: the same versions, but for the one that MLflow alone asks for.
lock: install
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
	  --no-header --no-annotate --quiet --output-file requirements.lock
	@mkdir -p .cache
	sed -e 's/ \\$$//' -e '/--hash/d' -e '/^opentelemetry-proto/d' requirements.lock > .cache/tested.txt
	$(BIN)/uv pip compile pyproject.toml --extra postgres --extra traces --python-version 3.11 --python-platform linux \
	  --generate-hashes --no-header --no-annotate --quiet --constraint .cache/tested.txt --output-file deploy/requirements.lock

clean:
	rm -rf .venv .bentoml .cache data build
