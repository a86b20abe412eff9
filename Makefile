# `make demo` and `make test` set up all they need on a machine that has Python 3.11 or newer, make and a C compiler.
PYTHON     ?= python3
BIN        := .venv/bin
PIP        := $(BIN)/python -m pip --disable-pip-version-check
UV_VERSION := 0.13.9
UV         := .cache/uv-$(UV_VERSION)/bin/uv

.DEFAULT_GOAL := help
.PHONY: help demo test test-live lint format generate check-generated pictures bench fuzz tools image-size sbom lock ci clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

demo: .venv/.run ## play the recorded node: no GPU, no cluster
	$(BIN)/vgpu-exporter demo --speed 20 --hold 80

test: .venv/.dev ## the tests (wider searches: .venv/bin/pytest -m property)
	$(BIN)/python -m pytest -n 3 --dist worksteal -m "not property and not live"

test-live: .venv/.dev ## what takes a minute: real Prometheus on demo, rules and dashboards, the image; needs `make tools`
	$(BIN)/python -m pytest -m live

lint: .venv/.dev ## ruff, mypy, the layers
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/.dev ## let ruff rewrite the code
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

generate: .venv/.dev ## write what comes from exporter/catalogue.py: tables, rules, runbook, dashboards, the chart's copies
	$(BIN)/python -m tools.docs
	$(BIN)/python -m tools.picture_attribution
	$(BIN)/python -m alerts
	$(BIN)/python -m dashboards
	$(BIN)/python -m tools.chart

check-generated: .venv/.dev ## fail if `make generate` would change anything
	$(BIN)/python -m tools.docs --check
	$(BIN)/python -m tools.picture_attribution --check
	$(BIN)/python -m alerts --check
	$(BIN)/python -m dashboards --check
	$(BIN)/python -m tools.chart --check

pictures: .venv/.dev ## draw docs/images from the demo: needs `make tools`, node and tmux, and some minutes
	npm --prefix tools/pictures ci --ignore-scripts --no-audit --no-fund
	$(BIN)/python -m tests.pictures
	$(BIN)/python -m tests.page_pictures
	$(BIN)/python -m tests.terminal_pictures

bench: .venv/.dev ## what a tick and a scrape cost, as a table
	$(BIN)/python -m tests.bench

fuzz: .venv/.fuzz ## every parser of foreign text or bytes, a million hostile inputs each (fewer, or one: tests/fuzz/__main__.py)
	$(BIN)/python -m tests.fuzz

tools: ## install the checkers that are not Python: promtool 2.x and 3.x, Prometheus, Alertmanager, pint, Helm, Grafana's linter …
	tools/install

image-size: .venv/.run ## all files of the image, without Docker, in .cache/image; more than 150 MB is an error
	rm -rf .cache/image
	$(BIN)/python -m tools.image .cache/image

sbom: ## what the locked runtime is made of, with licences: dist/sbom.cdx.json (CycloneDX)
	PYTHON=$(PYTHON) tools/sbom

lock: $(UV) ## resolve constraints/*.txt anew, keeping pins that still fit (newest of all: make lock UPGRADE=--upgrade)
	$(UV_COMPILE) -o constraints/run.txt pyproject.toml
	$(UV_COMPILE) -o constraints/build.txt --group build
	$(UV_COMPILE) -o constraints/dev.txt -c constraints/run.txt -c constraints/build.txt pyproject.toml --group dev
	$(UV_COMPILE) -o tools/sbom.txt tools/sbom.in

ci: ## all that must hold before a merge
	bash .ci/run

clean: ## remove the virtual environment, the tools and all caches
	rm -rf .venv .tools tools/*/node_modules tools/pictures/dist .cache build dist *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

# ---------------------------------------------------------------- set-up: a stamp each, so the second run is instant

.venv/.created:
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON): not found; name one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("$(PYTHON) is Python %d.%d, but 3.11 or newer is needed; name one: make PYTHON=python3.12" % sys.version_info[:2])'
	@$(PYTHON) -c 'import ensurepip, venv' || { echo "$(PYTHON) has no venv module (Debian: apt-get install python3-venv)" >&2; exit 1; }
	$(PYTHON) -m venv --clear .venv
	@touch $@

.venv/.run: .venv/.created constraints/run.txt constraints/build.txt pyproject.toml
	$(PIP) install --quiet --require-hashes -r constraints/run.txt -r constraints/build.txt
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

.venv/.dev: .venv/.run constraints/dev.txt
	$(PIP) install --quiet --require-hashes -r constraints/dev.txt
	@touch $@

.venv/.fuzz: .venv/.dev tests/fuzz/requirements.txt
	$(PIP) install --quiet --require-hashes -r tests/fuzz/requirements.txt
	@touch $@

# ---------------------------------------------------------------- the lock: every wheel's hash, so any Python and CPU will do

UV_COMPILE = $(UV) pip compile --quiet $(UPGRADE) --universal --python-version 3.11 --generate-hashes \
	--no-config --annotation-style line --custom-compile-command "make lock"

$(UV):
	$(PYTHON) -m venv --clear .cache/uv-$(UV_VERSION)
	.cache/uv-$(UV_VERSION)/bin/pip install --quiet uv==$(UV_VERSION)
