# Open EMO on a machine with Python 3.11 or 3.12 and make. Each target sets up first; a second call re-does nothing.
#
#   make demo               raw sample videos -> catalog -> three stages -> generated video -> table, through Dagster
#   make demo RAW=folder    the same on your own videos
#   make test               the tests        make test-long   the long ones       make check   style, types, boundaries
#   make dev                Dagster's and MLflow's UIs                            make bench   ratios against floors
#   make proof-stages       after the demo: stage 3 with all its steps, asked on more people it never saw; 15 minutes
#   make proof              each of EMO's controls in a small true world: hours on two cores; killed, it goes on
#
# VENV, EMO_DATA, EMO_WEIGHTS, EMO_SAMPLES and EMO_ORACLES move the environment and the files elsewhere.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help setup media oracles demo dev test test-long bench proof proof-stages check

VENV ?= .venv
# 3.11 first: the lock was made with it. A name alone is not trusted, it is run.
PYTHON ?= $(shell for p in python3.11 python3.12 python3 python; do \
    $$p -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2>/dev/null && echo $$p && break; done)
PY := $(abspath $(VENV))/bin/python

EMO_DATA ?= data
EMO_WEIGHTS ?= $(EMO_DATA)/weights
EMO_SAMPLES ?= $(EMO_DATA)/samples
EMO_ORACLES ?= $(VENV)/oracles
DAGSTER_PORT ?= 3000
MLFLOW_PORT ?= 5000
override EMO_DATA := $(abspath $(EMO_DATA))
override EMO_WEIGHTS := $(abspath $(EMO_WEIGHTS))
override EMO_SAMPLES := $(abspath $(EMO_SAMPLES))
override EMO_ORACLES := $(abspath $(EMO_ORACLES))
export EMO_DATA EMO_WEIGHTS EMO_SAMPLES EMO_ORACLES DAGSTER_PORT MLFLOW_PORT RAW
export DAGSTER_HOME := $(CURDIR)/dagster_home
export DAGSTER_DISABLE_TELEMETRY := 1
export MLFLOW_DISABLE_TELEMETRY := true
# OpenMP's threads spin while they wait: beside another busy process that made a training step ten times slower.
export OMP_WAIT_POLICY := passive
export PATH := $(abspath $(VENV))/bin:$(PATH)

# What the demo and the tests load; `emo weights list` names the others.
WEIGHTS := face_landmarker face_mesh hand_landmarker text_detector whisper_tiny_encoder i3d efficientnet_lite0 \
    dlib_face shape_predictor silero_vad resemblyzer lpips

# The environment is remade when what defines it changes: the stamp carries their checksum.
SET_UP := requirements.lock requirements-test.lock pyproject.toml scripts/set_up.py
STAMP := $(VENV)/.set-up-$(shell cat $(SET_UP) | cksum | tr ' ' '-')

# The reference implementations our metrics are compared with: beside the environment, where nothing but tests looks.
ORACLES := $(EMO_ORACLES)/.installed-$(shell cksum < requirements-oracle.lock | tr ' ' '-')

# Tests see no data root and no Dagster instance of yours. One thread each: two workers on two cores.
PYTEST := env -u EMO_DATA -u DAGSTER_HOME OMP_NUM_THREADS=1 $(PY) -m pytest

help:
	@sed -n '2,10s/^#//p' Makefile

$(STAMP):
	@test -n "$(PYTHON)" || { echo "no Python 3.11 or 3.12 found; run: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) scripts/set_up.py $(VENV)
	@touch $@

setup: media
	@echo "ready: $(VENV), weights in $(EMO_WEIGHTS), samples in $(EMO_SAMPLES); next: make demo"

media: $(STAMP)
	@$(PY) -m emo_model weights get --quiet $(WEIGHTS)
	@$(PY) -m emo_model samples get --quiet

oracles: $(ORACLES)

$(ORACLES): $(STAMP)
	@echo "set-up: the oracles of the parity tests"
	@$(PY) -m pip install --quiet --no-compile --disable-pip-version-check --no-deps --upgrade --target $(EMO_ORACLES) -r requirements-oracle.lock
	@touch $@

demo: media
	@$(PY) -m emo_pipeline.demo $${RAW:+--raw "$$RAW"}

dev: $(STAMP)
	@scripts/dev.sh

# A file is one worker's, for what its tests share. In the tree's order: by count of tests, files of one long test come last.
test: media oracles
	$(PYTEST) -n 2 --dist loadfile --no-loadscope-reorder --durations 25

test-long: media oracles
	$(PYTEST) -m "long or gpu" --durations 10

bench: media
	@set -e; for file in benchmarks/*.py; do case $$file in */_*) ;; *) $(PY) $$file ;; esac; done

proof: media
	@$(PY) -m emo_model proof world

# The demo leaves stage 3 a fifth of its steps, and holds out two clips: too few to tell head speeds apart.
HELD_OUT := $(EMO_DATA)/held_out
proof-stages: media
	@$(PY) -m emo_model samples render $(HELD_OUT)_videos $(EMO_SAMPLES)/portraits/* \
	    --voice $(EMO_SAMPLES)/voices/silero_test.wav --videos 16 --seconds 3.1 --seed 50
	@EMO_DATA=$(HELD_OUT) $(PY) -m emo_model prepare $(HELD_OUT)_videos --identity folder
	@$(PY) -m emo_model train speed $(EMO_DATA)/6_checkpoints/speed/proof --threads 2
	@$(PY) -m emo_model proof stages $(EMO_DATA)/6_checkpoints/speed/proof --held-out $(HELD_OUT) --batches 32

check: $(STAMP)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(PYTEST) -q tests/test_boundaries.py
