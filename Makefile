# Everything a developer or a stranger runs, with a virtual environment of its own. POSIX make and sh.
#
#   make demo [KEEP=1] [TX=2000]    a network of four processes, a client, a checked summary
#   make test [ARGS='-k codec']     all tests but those of make test-processes
#   make test-processes             tests with networks of real processes that are killed, frozen and cut off; minutes
#   make lint                       ruff, mypy --strict, import-linter
#   make docs                       documentation into docs/_build/html, warnings are errors
#   make bench [ARGS=...]           the benchmark of bench/
#   make contracts                  compiles the contracts, compares with the committed artifacts, forge, mutants
#   make sim                        500 seeds, 1,000 Twins scenarios and every crash point; minutes
#   make sim-night [SIM=sim-night]  20,000 seeds and 100,000 Twins; hours, goes on where it was stopped
#   make clean                      removes what these commands made
#
# VENV chooses another folder for the environment, PYTHON another interpreter (3.11 to 3.13).

VENV = .venv
TX = 2000
KEEP =
ARGS =
SIM = sim-night
BIN = $(VENV)/bin
INSTALL = sh .ci/install "$(VENV)" "$(PYTHON)"

# The packages of contracts/ (compiler, anvil, forge), by the Node that pip has put into the environment.
NPM_STAMP = contracts/node_modules/.package-lock.json
WITH_NODE = PATH="$(abspath $(BIN)):$$PATH"

.PHONY: demo test test-processes lint docs bench contracts sim sim-night clean

demo: $(VENV)/.run
	$(BIN)/potchain demo --transactions $(TX) $(if $(KEEP),--keep) $(ARGS)

test: $(VENV)/.lint $(NPM_STAMP)
	$(BIN)/python -m pytest -m "not processes" $(ARGS)

test-processes: $(VENV)/.lint $(NPM_STAMP)
	$(BIN)/python -m pytest -m processes $(ARGS)

lint: $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.docs
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

bench: $(VENV)/.lint
	$(BIN)/python bench/throughput.py $(ARGS)

contracts: $(VENV)/.lint $(NPM_STAMP)
	cd contracts && $(WITH_NODE) npm run --silent check
	$(WITH_NODE) $(BIN)/python tests/settlement_solc.py --check
	cd contracts && $(WITH_NODE) npm run --silent test
	cd contracts && $(WITH_NODE) npm run --silent coverage
	$(WITH_NODE) $(BIN)/python tests/contract_mutants.py

sim: $(VENV)/.lint
	failed=0; \
	$(BIN)/potchain sim run --nodes 4 --seeds 1-300 --profile mixed $(ARGS) || failed=1; \
	$(BIN)/potchain sim run --nodes 4 --seeds 1-200 --profile settlement $(ARGS) || failed=1; \
	$(BIN)/potchain sim twins --nodes 4 --scenarios 1000 $(ARGS) || failed=1; \
	$(BIN)/potchain sim crash-sweep --nodes 4 $(ARGS) || failed=1; \
	exit $$failed

sim-night: $(VENV)/.lint
	mkdir -p $(SIM)
	failed=0; night() { name=$$1; shift; $(BIN)/potchain sim "$$@" $(ARGS) \
	  --resume $(SIM)/$$name.jsonl --summary $(SIM)/$$name.json --failures $(SIM)/failures || failed=1; }; \
	night seeds-4 run --nodes 4 --seeds 1-14000 --profile mixed; \
	night byzantine-4 run --nodes 4 --seeds 1-3000 --profile byzantine; \
	night seeds-7 run --nodes 7 --seeds 1-2000 --profile mixed; \
	night seeds-5 run --nodes 5 --seeds 1-1000 --profile mixed; \
	night twins-4 twins --nodes 4 --scenarios 95000; \
	night twins-7 twins --nodes 7 --scenarios 5000; \
	night crash-sweep crash-sweep --nodes 4; \
	exit $$failed

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis docs/_build build dist
	rm -rf demo-[0-9]* sim-failures

$(NPM_STAMP): contracts/package.json contracts/package-lock.json | $(VENV)/.lint
	cd contracts && $(WITH_NODE) npm ci
	touch $@

$(VENV)/.run: pyproject.toml constraints.txt .ci/install
	$(INSTALL) run

$(VENV)/.lint: pyproject.toml constraints.txt .ci/install
	$(INSTALL) lint

$(VENV)/.docs: pyproject.toml constraints.txt .ci/install
	$(INSTALL) docs
