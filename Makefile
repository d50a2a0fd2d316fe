# make help lists the targets.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup demo test lint

DEMO := results/demo

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 16

setup: ## Python packages and Nextflow under .venv; nothing outside the checkout
	@containers/local/setup.sh nextflow
	@containers/local/setup.sh python

demo: setup ## The pipeline on a simulated tissue, 3 minutes on 2 cores; again: resumes
	@[ -e $(DEMO)/input/samplesheet.csv ] || \
		.venv/bin/python bin/simulate.py --out-dir $(DEMO)/input --n-spatial 1500 --n-reference 1500
	@.venv/bin/nextflow run . -profile local --input $(DEMO)/input/samplesheet.csv --outdir $(DEMO) -resume

test: setup ## Every test; at most 20 minutes on 2 cores
	@.venv/bin/python -m pytest

lint: setup ## Code style of Python and Nextflow
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/nextflow lint main.nf nextflow.config assets/conf modules
