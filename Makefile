# Everything a developer or a stranger runs, with a virtual environment of its own. POSIX make and sh.
#
#   make demo [KEEP=1] [TX=2000]    a network of four processes, a client, a checked summary
#   make test [ARGS='-k codec']     all tests
#   make lint                       ruff, mypy --strict, import-linter
#   make docs                       documentation into docs/_build/html, warnings are errors
#   make bench [ARGS=...]           the benchmark of bench/
#   make clean                      removes what these commands made
#
# VENV chooses another folder for the environment, PYTHON another interpreter (3.11 to 3.13).

VENV = .venv
TX = 2000
KEEP =
ARGS =
BIN = $(VENV)/bin
INSTALL = sh .ci/install "$(VENV)" "$(PYTHON)"

.PHONY: demo test lint docs bench clean

demo: $(VENV)/.run
	$(BIN)/potchain demo --transactions $(TX) $(if $(KEEP),--keep) $(ARGS)

test: $(VENV)/.lint
	$(BIN)/python -m pytest $(ARGS)

lint: $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.docs
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

bench: $(VENV)/.lint
	$(BIN)/python bench/throughput.py $(ARGS)

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis docs/_build build dist
	rm -rf demo-[0-9]*

$(VENV)/.run: pyproject.toml constraints.txt .ci/install
	$(INSTALL) run

$(VENV)/.lint: pyproject.toml constraints.txt .ci/install
	$(INSTALL) lint

$(VENV)/.docs: pyproject.toml constraints.txt .ci/install
	$(INSTALL) docs
