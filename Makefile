# make help lists the targets.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-containers images lint

DEMO := results/demo

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 24

# METHODS="peers export": environments of further methods, and of the exports, too.
METHODS :=

setup: ## Python packages and Nextflow, into .venv
	@containers/local/setup.sh nextflow
	@containers/local/setup.sh python
	@for name in $(METHODS); do containers/local/setup.sh $$name; done

demo: setup ## The pipeline on a simulated tissue, 3 minutes on 2 cores; again: resumes
	@mkdir -p $(DEMO)
	@[ -e $(DEMO)/input/samplesheet.csv ] || \
		.venv/bin/python bin/simulate.py --out-dir $(DEMO)/input --n-spatial 1200 --n-reference 1200 --n-genes 800
	@cd $(DEMO) && $(CURDIR)/.venv/bin/nextflow run $(CURDIR) -profile local \
		--input input/samplesheet.csv --outdir . $$([ ! -e .nextflow/history ] || echo -resume)
	@printf '%s\n' '' "Report:       $(DEMO)/multiqc/multiqc_report.html" \
		"Imputed file: $(DEMO)/cortex_1/imputed.h5ad" "Gene table:   $(DEMO)/cortex_1/genes.tsv"

test: setup ## Every test; about 25 minutes on 2 cores
	@.venv/bin/python -m pytest -rs

images: ## Container images, with docker, podman or buildah; prints their sizes
	@containers/images.sh

test-containers: setup ## Tests of the images: builds them and runs the pipeline in them, 25 minutes on 2 cores
	@.venv/bin/python -m pytest tests/containers -rs

lint: setup ## Code style of Python and Nextflow
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/nextflow lint main.nf nextflow.config assets/conf modules
