# llama4coder: `make serve` and `make test` do all their own set-up in .venv.
# Variables: PYTHON (for .venv), HOST, PORT, CONFIG (serve), OUT, TORCH (bundle), ARGS (further pytest arguments).

PYTHON ?= python3
CONFIG ?= deploy/serve/embedded-cpu.yaml
OUT ?= dist/bundle
TORCH ?= cpu
export PYTHON

BIN := .venv/bin
SERVE_READY := .venv/.serve-ready
DEV_READY := .venv/.dev-ready
GUIDELLM := .venv/guidellm/bin/guidellm
BUNDLER := .venv/bundle/.ready
SETUP_INPUTS := pyproject.toml constraints.txt scripts/setup

.DEFAULT_GOAL := help
.PHONY: help serve bundle test test-all lint bench bench-engine bench-endpoint bench-overload dashboards docs clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile

serve: $(SERVE_READY) ## Start the endpoint on a local Ray; Ctrl-C stops it (HOST=, PORT=, CONFIG=)
	@exec $(BIN)/llama4coder serve --config $(CONFIG) $(if $(HOST),--host $(HOST)) $(if $(PORT),--port $(PORT))

bundle: $(BUNDLER) ## Collect all that an install without a network needs (OUT=, TORCH=cpu|cuda)
	@.venv/bundle/bin/python -m scripts.bundle $(OUT) --torch $(TORCH)

test: $(DEV_READY) ## Run the default test suite (ARGS=)
	$(BIN)/pytest -m "not slow" $(ARGS)

test-all: $(DEV_READY) ## Run every test, the slow ones too (ARGS=)
	$(BIN)/pytest $(ARGS)

lint: $(DEV_READY) ## Check style, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: bench-engine

bench-engine: $(DEV_READY) ## Print decode and prefill speed beside peers (ARGS=, see tests/bench/engine.py)
	$(BIN)/python -m tests.bench.engine $(ARGS)

bench-endpoint: $(DEV_READY) $(GUIDELLM) ## Print streaming speed beside the engine alone (ARGS=, see tests/bench/endpoint.py)
	$(BIN)/python -m tests.bench.endpoint --guidellm $(GUIDELLM) $(ARGS)

bench-overload: $(DEV_READY) ## Overload a server with little KV memory (ARGS=, see tests/bench/overload.py)
	$(BIN)/python -m tests.bench.overload $(ARGS)

dashboards: $(DEV_READY) ## Write the generated files of dashboards/
	$(BIN)/python -m dashboards

docs: ## Write the generated pages of docs/
	$(PYTHON) scripts/reference.py

clean: ## Remove .venv and every cache in this folder
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(SERVE_READY): $(SETUP_INPUTS)
	@scripts/setup cluster $@

$(DEV_READY): $(SETUP_INPUTS)
	@scripts/setup cluster,dev $@ $(SERVE_READY)

# An environment of its own, since nothing of the product is needed to collect it.
$(BUNDLER): $(SETUP_INPUTS)
	@$(PYTHON) -m venv --clear .venv/bundle
	@.venv/bundle/bin/pip install --quiet --constraint constraints.txt cyclonedx-python-lib jsonschema packaging
	@touch $@

# An environment of its own, since it needs much; torch by the name that scripts/setup uses, so that no other build comes.
$(GUIDELLM): $(DEV_READY)
	$(BIN)/python -m venv .venv/guidellm
	.venv/guidellm/bin/pip install --quiet torch==2.13.0
	.venv/guidellm/bin/pip install --quiet torch==2.13.0 guidellm==0.8.1
