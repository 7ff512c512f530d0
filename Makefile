# The tasks of this repository; `make help` lists them. Whatever has logic in it is a script, not a recipe.

PYTHON ?= python3
VENV := .venv
CONFIG ?= config/hypercorn.toml
MODEL_STEPS ?= 10000000
# Most tests wait for processes more than they compute.
TEST_PROCESSES ?= $(shell expr $$(nproc) + 1)
CARGO_DENY_VERSION := 0.20.2
CARGO_DENY := target/tools/cargo-deny-$(CARGO_DENY_VERSION)

# What the wheel is made of.
SOURCES := Cargo.toml Cargo.lock pyproject.toml $(wildcard MANIFEST.in) \
	$(shell find crates -type f ! -name '*.pyc' ! -name '*.so' ! -path '*.egg-info/*' ! -path '*/tests/*' ! -path '*/benches/*')

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help build run test test-rust test-python model proof soak apps autobahn generate bench lint lint-rust lint-python dependencies clean

help: ## list the tasks
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: $(VENV)/hcrs.stamp ## build the wheel and install it: the command is then .venv/bin/hcrs

run: build $(VENV)/examples.stamp ## serve the FastAPI example at https://localhost:8443 with two workers
	@$(VENV)/bin/hcrs cert dev --dir certs
	@echo
	@echo 'Open https://localhost:8443/page (a browser asks first; certs/README.md says how it need not), or try in another terminal:'
	@echo '  curl --cacert certs/ca.pem https://localhost:8443/'
	@echo '  curl --cacert certs/ca.pem -N https://localhost:8443/stream'
	@echo '  h2load -n 20000 -c 8 -m 32 https://localhost:8443/'
	@echo 'Ctrl-C stops it.'
	@echo
	@exec $(VENV)/bin/hcrs --config $(CONFIG)

test: lint test-rust test-python ## run every check and every test

test-rust: ## run the tests of the crates
	cargo test --locked --workspace

test-python: build $(VENV)/tests.stamp ## run the tests of the installed command with real clients; ARGS="-k NAME" for some
	$(VENV)/bin/python -m pytest -n $(TEST_PROCESSES) --dist loadfile --durations 20 $(ARGS) tests/python

# With the checks of a debug build: the link's own assertions are rules, too.
model: ## run the model of the link for long and keep the result; MODEL_STEPS=1000000 for less, HCRS_MODEL_SEED=N for another run
	HCRS_MODEL_STEPS=$(MODEL_STEPS) HCRS_MODEL_DATE=$$(date +%F) HCRS_MODEL_COMMIT=$$(git describe --always --dirty) \
		HCRS_MODEL_RESULTS=$(CURDIR)/crates/hcrs-server/src/model/results.md \
		cargo test --locked -p hcrs-server --lib model::run::every_request

proof: build $(VENV)/tests.stamp ## run the full size of the tests that make test runs short: some minutes
	$(VENV)/bin/python -m pytest tests/python/end_to_end -m proof $(ARGS)

soak: build $(VENV)/tests.stamp ## a quarter of an hour of mixed load, each answer checked; ARGS="--seconds 60" for less
	$(VENV)/bin/python tests/soak/soak.py $(ARGS)

apps: build $(VENV)/tests.stamp ## install apps of others, serve and drive them; ARGS="--only datasette,gradio" for some
	$(VENV)/bin/python tests/apps/apps.py $(ARGS)

autobahn: build ## run the Autobahn test suite; it wants a Python 2.7 (PYTHON2=...); ARGS="--cases '1.*'" for some
	$(PYTHON) tests/autobahn/autobahn.py $(if $(PYTHON2),--python2 $(PYTHON2)) $(ARGS)

generate: ## renew the files generated from the tables of settings: references, schema, manual pages, completions
	HCRS_GENERATE=1 cargo test --quiet --locked -p hcrs-config -p hcrs-migrate generated

bench: ## measure beside Granian, Uvicorn, Hypercorn and Gunicorn; ARGS="--quick" for a short run
	$(PYTHON) tests/bench/bench.py $(ARGS)

lint: lint-rust lint-python dependencies ## run every check alone; warnings are errors

lint-rust: ## check the crates' formatting, lints and documentation
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --workspace --no-deps --document-private-items

lint-python: $(VENV)/tests.stamp ## check the lints and types of the package, the examples and the tests, and the words of pages and comments
	$(VENV)/bin/ruff check
	$(VENV)/bin/mypy
	$(VENV)/bin/python tests/words/words.py
	$(VENV)/bin/python -m pytest -q -p no:cacheprovider tests/words

dependencies: $(CARGO_DENY)/bin/cargo-deny ## check dependencies, licences, and advisories where the network has them
	tests/dependencies.sh $<

clean: ## remove what the tasks have made, but not certs/
	rm -rf target build $(VENV) .pytest_cache .mypy_cache .ruff_cache crates/hcrs-worker/python/*.egg-info

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed: make PYTHON=python3.12 ...")'
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo 'Python has no ensurepip; on Debian: apt-get install python3-venv' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/hcrs.stamp: $(VENV)/bin/python $(SOURCES)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --force-reinstall --no-deps .
	@touch $@

$(VENV)/examples.stamp: $(VENV)/bin/python examples/requirements.txt
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r examples/requirements.txt
	@touch $@

$(VENV)/tests.stamp: $(VENV)/bin/python $(VENV)/examples.stamp tests/python/requirements.txt
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r tests/python/requirements.txt
	@touch $@

# Without optimization, and without the features that only its other commands need: it is built in a minute or two.
$(CARGO_DENY)/bin/cargo-deny:
	CARGO_PROFILE_DEV_DEBUG=0 cargo install cargo-deny --version $(CARGO_DENY_VERSION) --locked --no-default-features --debug --root $(CARGO_DENY)
