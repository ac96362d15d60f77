# Python 3.11 or newer, make and a package index are all that is needed: the rest is fetched into .venv.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
# Everything is installed with bytecode compiled; where this is set, every process would compile our own files anew.
unexport PYTHONDONTWRITEBYTECODE
# A company's own certificates are in the system's store, where pip finds them and uv looks only if told.
export UV_SYSTEM_CERTS ?= true
# Bars in a terminal; in a pipe, such as a CI log, one line instead of one for each package.
QUIET = $(shell test -t 2 || echo --quiet)

.DEFAULT_GOAL := help
.PHONY: help install demo test test-all prove check format docs pictures bench lock newest clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

install: $(STAMP) ## make .venv from requirements.lock; the second time it does nothing

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name one with: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@echo "Installing into .venv: one to four minutes, for downloads and bytecode"
	@$(BIN)/uv pip sync $(QUIET) --python $(BIN)/python --compile-bytecode --require-hashes requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@$(BIN)/python -m compileall -q -j 0 benchmarks deployments evergreen flows models serving tasks
	@$(BIN)/python -m evergreen.storage.database_template
	@touch $(STAMP)

demo: $(STAMP) ## keep a model fresh in front of your eyes (two minutes; KEEP=1 leaves the pages running)
	@$(BIN)/python -m deployments.demo

test: $(STAMP) ## run the tests but the slow ones (about thirteen minutes)
	@$(BIN)/python -m pytest

test-all: $(STAMP) ## run the slow tests, too: every crash point, outages, storms, a season, the demo (twenty minutes)
	@$(BIN)/python -m pytest -m 'not proof'

# The words behind `prove` are names of proofs, not of targets.
ifeq (prove,$(firstword $(MAKECMDGOALS)))
PROOFS := $(wordlist 2,$(words $(MAKECMDGOALS)),$(MAKECMDGOALS))
.PHONY: $(PROOFS)
$(PROOFS): prove ; @:
endif

prove: $(STAMP) ## run long proofs by their names: make prove NAME (alone it lists the names)
ifeq (,$(PROOFS))
	@sed -nE 's/^\| `([a-z-]+)` \| ([^|]+[^ |]) *\|.*/\1\t\2/p' docs/proofs.md | expand -t 10
else
	@for name in $(PROOFS); do \
		grep -q "^| \`$$name\` |" docs/proofs.md || { echo "There is no proof $$name; make prove lists them." >&2; exit 2; }; \
		$(BIN)/python -m pytest -n 0 -s -m "proof(name='$$name')" || exit 1; \
	done
endif

check: $(STAMP) ## lint, types, layers, and whether README and docs tell the truth
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m pytest tests/test_docs.py

format: $(STAMP) ## put the code into shape
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

docs: $(STAMP) ## build the documentation as a site in .site (a broken link is an error)
	@rm -rf .site
	@$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet -d .site/.doctrees docs .site
	@echo "Open .site/index.html"

pictures: $(STAMP) ## make the pictures of README from a real run (five minutes; needs Chromium)
	@$(BIN)/python -m docs.pictures.make

bench: $(STAMP) ## print the benchmark tables (about a quarter of an hour; alarms and year only by name)
	@$(BIN)/python -m benchmarks

lock: $(STAMP) ## resolve the newest versions that pyproject.toml allows
	@$(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --no-emit-index-url --all-extras \
		pyproject.toml --output-file requirements.lock

# Beyond the bounds of pyproject.toml, each of which says why it is there: what breaks is known before it is wanted.
newest: $(STAMP) ## run the tests with the newest versions of everything, in an environment of its own (.newest)
	@rm -rf .newest && mkdir .newest
	@sed -E 's/,<[0-9.]+"/"/' pyproject.toml > .newest/pyproject.toml
	@$(BIN)/uv pip compile --quiet --upgrade --universal --no-emit-index-url --all-extras .newest/pyproject.toml \
		--output-file .newest/requirements.lock
	@echo "Other versions than those of requirements.lock:"
	@bash -c "diff <(sed -nE 's/^([a-z].*==[^ ]+).*/\1/p' requirements.lock) \
		<(sed -nE 's/^([a-z].*==[^ ]+).*/\1/p' .newest/requirements.lock)" | sed -nE 's/^> /  /p'
	@$(PYTHON) -m venv .newest/venv
	@$(BIN)/uv pip sync $(QUIET) --python .newest/venv/bin/python --compile-bytecode .newest/requirements.lock
	@$(BIN)/uv pip install --quiet --python .newest/venv/bin/python --no-deps --editable .
	@.newest/venv/bin/python -m evergreen.storage.database_template
	@.newest/venv/bin/python -m pytest

clean: ## remove .venv, caches and the demo's state; your own state in .evergreen stays
	@rm -rf .venv .newest .demo .site .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks .import_linter_cache *.egg-info
