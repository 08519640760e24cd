# `make` lists what there is to do. Every target first runs scripts/setup.sh, which returns at once when nothing changed.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup demo test bench lint format train

VENV := .venv/bin
PYTEST := $(VENV)/python -m pytest --durations=10
# A file's tests share what they set up; in the order of the folders the long files come first.
IN_PARALLEL := --numprocesses logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder
TRIALS ?= 20
POSES ?= camera
TASKS ?= push_cube pick_cube
SEED ?= 1

# The variables a Python of this environment leaves to its children: another environment must not inherit them.
unexport _ROS_WHEELS_BOOTSTRAP_COMPLETE PYTHONHOME
# Without byte code each process of a test would compile what it imports.
unexport PYTHONDONTWRITEBYTECODE

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## virtual environment, pinned packages, ROS 2 interfaces (about 4 minutes, 3 GB, once)
	@scripts/setup.sh

demo: setup ## trained policies on the twin: make demo TRIALS=20; seen by its camera, or POSES=truth; TASKS=lift_peg_upright
	@scripts/demo.sh $(TRIALS) $(POSES) $(TASKS)

test: lint ## lint, types and every test; what CI runs
	@status=0; \
	$(PYTEST) -m "not realtime" $(IN_PARALLEL) || status=$$?; \
	$(PYTEST) -m realtime || status=$$?; \
	exit $$status

bench: setup ## how fast the parts are on this machine
	@shopt -s nullglob; for bench in tests/benchmarks/bench_*.py; do echo "== $$bench"; $(VENV)/python "$$bench"; done

lint: setup ## ruff, formatting and types, without changing anything
	@$(VENV)/ruff check
	@$(VENV)/ruff format --check
	@$(VENV)/pyright

format: setup ## let ruff format and fix what it can
	@$(VENV)/ruff check --fix
	@$(VENV)/ruff format

train: setup ## train the policies on this machine (push_cube in minutes, the others longer): make train SEED=1
	$(VENV)/vlajs train push_cube --seed $(SEED)
	$(VENV)/vlajs train pick_cube --seed $(SEED)
	$(VENV)/vlajs train lift_peg_upright --method vlajs --total-steps 400000 --seed $(SEED)
