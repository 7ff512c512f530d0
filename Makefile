# The tasks of this repository; `make help` lists them. Whatever has logic in it is a script, not a recipe.

PYTHON ?= python3
# Either the wheel is installed in it (hcrs.stamp), or the build of `make dev` (dev.stamp).
VENV := .venv
DEV_TARGET := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)/debug
DEV_EXTENSION := crates/hcrs-worker/python/hcrs/_hcrs.abi3.so
CONFIG ?= config/hypercorn.toml
MODEL_STEPS ?= 10000000
# Most tests wait for processes more than they compute.
TEST_PROCESSES ?= $(shell expr $$(nproc) + 1)
# A file's tests share servers, and the order is that of tests/python/conftest.py. All tests run unless ARGS names some.
PYTEST = -m pytest --numprocesses $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder $(ARGS) \
	$(if $(findstring tests/python,$(ARGS)),,tests/python)
CARGO_DENY_VERSION := 0.20.2
CARGO_DENY := target/tools/cargo-deny-$(CARGO_DENY_VERSION)

# What the wheel is made of.
SOURCES := Cargo.toml Cargo.lock pyproject.toml $(wildcard MANIFEST.in) \
	$(shell find crates -type f ! -name '*.pyc' ! -name '*.so' ! -path '*.egg-info/*' ! -path '*/tests/*' ! -path '*/benches/*')

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help build dev run check test checks test-rust test-python dev-test model proof soak overload disruption apps autobahn generate bench lint lint-rust lint-python dependencies clean

help: ## list the tasks
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: $(VENV)/hcrs.stamp ## build the wheel and install it: the command is then .venv/bin/hcrs

# The package is that of the sources, where changes in Python take effect at once; the extension and the command are links.
dev: $(VENV)/dev.stamp ## build without optimization, seconds after a change, and install it editable in .venv
	cargo build --locked -p hcrs -p hcrs-worker
	@ln -sf $(DEV_TARGET)/lib_hcrs.so $(DEV_EXTENSION)
	@ln -sf $(DEV_TARGET)/hcrs $(VENV)/bin/hcrs

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

check: dev lint-python ## check a small change: formats, lints, the crates' tests, and the quick Python tests on the build of make dev
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo test --locked --workspace --quiet
	$(VENV)/bin/python $(PYTEST) -m 'not slow'

# While the wheel is linked, which takes minutes on one core, the checks use the other.
test: $(VENV)/tests.stamp ## run every check and every test
	$(MAKE) --jobs=2 --output-sync=line --no-print-directory build checks
	$(MAKE) test-python

# In this order, also with --jobs: two runs of cargo that are not for the wheel would wait for each other.
checks:
	$(MAKE) lint
	$(MAKE) test-rust

test-rust: ## run the tests of the crates
	cargo test --locked --workspace

test-python: build $(VENV)/tests.stamp ## run the tests of the installed command with real clients; ARGS="-k NAME" for some
	$(VENV)/bin/python $(PYTEST) --durations 20

dev-test: dev $(VENV)/tests.stamp ## the same on the build of make dev
	$(VENV)/bin/python $(PYTEST)

# With the checks of a debug build: the link's own assertions are rules, too.
model: ## run the model of the link for long and keep the result; MODEL_STEPS=1000000 for less, HCRS_MODEL_SEED=N for another run
	HCRS_MODEL_STEPS=$(MODEL_STEPS) HCRS_MODEL_DATE=$$(date +%F) HCRS_MODEL_COMMIT=$$(git describe --always --dirty) \
		HCRS_MODEL_RESULTS=$(CURDIR)/crates/hcrs-server/src/model/results.md \
		cargo test --locked -p hcrs-server --lib model::run::every_request

proof: build $(VENV)/tests.stamp ## run the full size of the tests that make test runs short: some minutes
	$(VENV)/bin/python -m pytest tests/python/end_to_end -m proof $(ARGS)

soak: build $(VENV)/tests.stamp ## a quarter of an hour of mixed load, each answer checked; ARGS="--seconds 60" for less
	$(VENV)/bin/python tests/soak/soak.py $(ARGS)

overload: build ## measure what is answered at 1, 2 and 5 times the capacity: ten minutes; ARGS="--rounds 1" for less
	$(VENV)/bin/python tests/overload/overload.py $(ARGS)

disruption: build $(VENV)/tests.stamp ## measure what reloads, restarts and dead workers cost clients, beside other servers: a quarter of an hour
	$(VENV)/bin/python tests/disruption/disruption.py $(ARGS)

apps: build $(VENV)/tests.stamp ## install apps of others, serve and drive them; ARGS="--only datasette,gradio" for some
	$(VENV)/bin/python tests/apps/apps.py $(ARGS)

autobahn: build ## run the Autobahn test suite; it wants a Python 2.7 (PYTHON2=...); ARGS="--cases '1.*'" for some
	$(PYTHON) tests/autobahn/autobahn.py $(if $(PYTHON2),--python2 $(PYTHON2)) $(ARGS)

generate: ## renew the files generated from the tables of settings and metrics: references, schema, manual pages, completions
	HCRS_GENERATE=1 cargo test --quiet --locked -p hcrs-config -p hcrs-metrics -p hcrs-migrate generated

bench: ## measure beside other app servers, nginx, h2o, Caddy and HAProxy; ARGS="--quick" for a short run
	$(PYTHON) tests/bench/bench.py $(ARGS)

lint: ## run every check alone; warnings are errors
	$(MAKE) lint-rust
	$(MAKE) lint-python
	$(MAKE) dependencies

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
	rm -rf target build $(VENV) $(DEV_EXTENSION) .pytest_cache .mypy_cache .ruff_cache crates/hcrs-worker/python/*.egg-info

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed: make PYTHON=python3.12 ...")'
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo 'Python has no ensurepip; on Debian: apt-get install python3-venv' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/hcrs.stamp: $(VENV)/bin/python $(SOURCES)
	@rm -f $(VENV)/dev.stamp $(VENV)/lib/python*/site-packages/hcrs.pth $(VENV)/bin/hcrs $(DEV_EXTENSION)
	@rm -rf build/lib*  # of an earlier build, whose modules may have other names by now
	$(VENV)/bin/python -m pip install -v --config-settings quiet=1 --disable-pip-version-check --force-reinstall --no-deps .
	@touch $@

$(VENV)/dev.stamp: $(VENV)/bin/python
	@rm -f $(VENV)/hcrs.stamp
	@$(VENV)/bin/python -m pip uninstall -qq --yes --disable-pip-version-check hcrs
	@echo $(CURDIR)/crates/hcrs-worker/python > $$(echo $(VENV)/lib/python*/site-packages)/hcrs.pth
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
