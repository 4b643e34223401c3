# The only commands a newcomer needs. Each does its own set-up and needs nothing but a Python >= 3.12 (and make).
# HOST, PORT, DATABASE_URL and the other variables of docs/settings.md are honoured, from the environment or as
# `make run PORT=9000`.

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help run test test-quick test-faults tour lint format bench bench-full bench-peers migrate clean

PYTHON_BIN := .venv/bin/python

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

run:  ## the site, the worker and the sandbox on http://127.0.0.1:8000/ (HOST, PORT); Ctrl-C stops all
	@bin/run

test:  ## everything, browser tests included; says what it left out and why
	@bin/setup dev
	@CHROMIUM="$$(bin/find-browser --install)" $(PYTHON_BIN) -m pytest $(ARGS)
ifndef ARGS
	@$(PYTHON_BIN) -m tests.on_postgres
endif

test-faults:  ## every fault at its full size, on both databases: an hour or two; prints a table
	@bin/setup dev
	@CHROMIUM="$$(bin/find-browser --install)" $(PYTHON_BIN) -m tests.faults $(ARGS)

test-quick:  ## the tests that start no processes and no browser
	@bin/setup dev
	@$(PYTHON_BIN) -m pytest -m "not browser and not process and not postgres and not faults" $(ARGS)

tour:  ## a picture of every page and state, wide and 400 px, light and dark, into tour/
	@bin/setup dev
	@TOUR=tour CHROMIUM="$$(bin/find-browser --install)" $(PYTHON_BIN) -m pytest tests/browser/test_accessibility.py

lint:  ## format, lint, types, templates, missing migrations, security, known holes of dependencies
	@bin/setup dev
	@bin/lint

format:  ## put Python files into their format and fix what can be fixed
	@bin/setup dev
	@$(PYTHON_BIN) -m ruff check --fix-only --quiet .
	@$(PYTHON_BIN) -m ruff format --quiet .

bench:  ## the measurements as a table, and as JSON under bench/results/: the quick ones, in ten minutes
	@bin/setup dev
	@$(PYTHON_BIN) -m bench $(ARGS)

bench-full:  ## all of them at full size
	@bin/setup dev
	@$(PYTHON_BIN) -m bench --full $(ARGS)

bench-peers:  ## the same work in another product's server, which is installed for it
	@bin/setup dev
	@$(PYTHON_BIN) -m bench peers $(ARGS)

migrate:  ## bring the database to the newest shape
	@bin/setup
	@$(PYTHON_BIN) manage.py migrate --noinput

clean:  ## remove what the tools made; the data folder stays
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
