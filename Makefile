# Everything here works in a fresh clone: `make` builds the environment it needs first (.ci/environment.sh).
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.ONESHELL:
MAKEFLAGS += --no-print-directory

BIN := .venv/bin
PYTHON := $(BIN)/python
ENVIRONMENT := .venv/.synced
PEERS := .venv/.peers
# What the fast tests are; the others are exactly the rest, so `make test` runs each test once.
FAST := not broker and not slow
REST := broker or slow
CARRY := .pytest_cache/could-not-run
# Most tests wait for a broker or a screen: two processes, each a whole file at a time, halve the time on two cores.
PYTEST := $(PYTHON) -m pytest -q -n 2 --dist loadfile --carry=$(CARRY)

.PHONY: help run check static fast test proof brokers brokers-kafka3 brokers-kafka3-down brokers-down bench pictures environment

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /\1\t/' | expand -t 21

run: $(ENVIRONMENT) ## the dashboard on the live lab
	@exec $(BIN)/mqdash $(ARGS)

check: static fast ## formatter, linter, types, import contracts, fast tests

test: check brokers ## check, then every other test on real brokers
	@$(PYTEST) -m "$(REST)"

proof: $(ENVIRONMENT) ## the full counts of every proof on real brokers [PART=name]
	@$(PYTHON) -m tests.proof $(PART)

brokers: $(ENVIRONMENT) ## install what is missing and start RabbitMQ 3.10 and 4, Redis 7 and 8, Kafka 4
	@$(PYTHON) -m tests.harness up || echo "brokers: not all are up; the tests list what they could not run" >&2

brokers-kafka3: $(ENVIRONMENT) ## a three-node Kafka, for leader election and min.insync.replicas
	@$(PYTHON) -m tests.harness.kafka3 up

brokers-kafka3-down: $(ENVIRONMENT) ## stop those three
	@$(PYTHON) -m tests.harness.kafka3 down

brokers-down: $(ENVIRONMENT) ## stop all of them
	@$(PYTHON) -m tests.harness down
	$(PYTHON) -m tests.harness.kafka3 down

bench: $(PEERS) ## figures beside those of peers, in one run
	@$(PYTHON) -m benchmarks $(ARGS)

pictures: $(ENVIRONMENT) ## the pictures in docs/
	@$(PYTHON) -m tests.pictures $(ARGS)

static: $(ENVIRONMENT)
	@$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fast: $(ENVIRONMENT)
	@mkdir -p $(dir $(CARRY)) && rm -f $(CARRY)
	$(PYTEST) -m "$(FAST)"

environment: $(ENVIRONMENT) ## .venv as uv.lock says

$(ENVIRONMENT): pyproject.toml uv.lock .ci/environment.sh
	@.ci/environment.sh

# What only benchmarks need and may not exist everywhere; they tell what is missing.
$(PEERS): $(ENVIRONMENT)
	@.ci/environment.sh --group bench-c || echo "bench: confluent-kafka is not measured" >&2
	touch $@
