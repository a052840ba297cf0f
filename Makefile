# The commands of the project. `make up` brings everything up; `make test` is everything that CI runs.

PYTHON ?= python3
BIN := .venv/bin
OCTOEDGE := PYTHONPATH=src $(PYTHON) -m octoedge.commands.octoedge
UP_FLAGS := $(if $(PORT_OFFSET),--port-offset $(PORT_OFFSET))

.DEFAULT_GOAL := help
.PHONY: help up down status test check format bench soak soak-telemetry lint format-check types contracts tests e2e python tools test-peers

help: ## show this list
	@sed -n 's/^\([a-z0-9-]*\):.*## /  make \1 \t/p' $(MAKEFILE_LIST) | expand -t 16

up: python ## check the machine, install what is missing, start a cloud and an edge node (PORT_OFFSET=N, SAMPLE=no)
	@$(OCTOEDGE) prepare --for up $(UP_FLAGS)
	@$(BIN)/octoedge up $(UP_FLAGS) $(if $(filter no,$(SAMPLE)),--no-sample)

down: ## stop what `make up` started; PURGE=1 removes its data too
	@$(BIN)/octoedge down $(if $(PURGE),--purge)

status: ## say how every part is
	@$(BIN)/octoedge status

test: python ## everything that CI runs: check, then all tests
	@$(OCTOEDGE) prepare --for test
	@$(MAKE) --no-print-directory check
	@$(MAKE) --no-print-directory tests
	@$(MAKE) --no-print-directory e2e

test-peers: python ## every cloud with every edge, ours and Go KubeEdge's (KUBEEDGE_BIN=DIR with its programs)
	@$(OCTOEDGE) prepare --for test
	@PYTHONPATH=tests KUBEEDGE_BIN="$(KUBEEDGE_BIN)" $(BIN)/python -m peers.matrix $(PEERS_FLAGS)

check: tools ## lint, format, types, import contracts
	@$(MAKE) --no-print-directory -j4 --output-sync=target lint format-check types contracts

format: tools ## format the code as `make check` wants it
	@$(BIN)/ruff format src tests
	@$(BIN)/ruff check --fix --quiet src tests

bench: python ## all figures into docs/benchmarks.md, a part at a time (ONLY=word: some of them)
	@$(OCTOEDGE) prepare --for test
	@$(BIN)/octoedge bench --page docs/benchmarks.md $(if $(ONLY),--only "$(ONLY)")

soak: python ## random faults in simulated time, on and on (MINUTES=60; SEED=N replays one history; OF=telemetry)
	@$(BIN)/python tools/soak.py $(if $(OF),--$(OF)) $(if $(SEED),--seed $(SEED),--minutes $(or $(MINUTES),60))

soak-telemetry: python ## real processes killed, hung and cut, every value counted (MINUTES=60, SEED=N, PORT_OFFSET=N)
	@$(OCTOEDGE) prepare --for test
	@$(BIN)/python tools/soak_telemetry.py --minutes $(or $(MINUTES),60) $(if $(SEED),--seed $(SEED)) \
	  $(if $(PORT_OFFSET),--port-offset $(PORT_OFFSET))

# The parts of `check` and `test`; each needs the tools of `make check` to be there.

lint:
	@$(BIN)/ruff check src tests

format-check:
	@$(BIN)/ruff format --check src tests

types:
	@$(BIN)/mypy && $(BIN)/mypy --explicit-package-bases tests

contracts:
	@$(BIN)/lint-imports --no-logo

tests:
	@$(BIN)/pytest -n 2 tests --ignore tests/e2e -m "not e2e" --hypothesis-profile=same-examples

e2e:
	@$(BIN)/pytest tests/e2e tests/docs -m e2e

tools: python
	@$(OCTOEDGE) prepare --for check

python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "octoedge: Python 3.11 or newer is needed; '$(PYTHON)' is not. Install it, or name it: make PYTHON=python3.12 up" >&2; exit 1; }
