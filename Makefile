# pg_mrl: every way to build, try, test and install it. `make` alone lists the targets.
#
#   PG_CONFIG   the pg_config of the server to build for and install into (found if not given);
#   PG_MAJOR    or only its release, 13 to 18
#   MODEL       a model's name, MODEL_DIR where it goes, MODEL_FROM a folder with its files
#
# The steps' scripts are in pgrx-config/. Whatever is made lies in build/ and target/; only
# `deps`, `install`, `uninstall` and `model` write elsewhere.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# These are expanded when a recipe uses them: `deps` has installed a server by then.
PG_CONFIG ?= $(or $(shell pgrx-config/pg-config),$(error no PostgreSQL server with its headers was found: make deps, or PG_CONFIG=/path/to/pg_config))
FEATURE = pg$(shell $(PG_CONFIG) --version | sed 's/[^0-9]*\([0-9]*\).*/\1/')
MODEL_DIR ?= $(shell $(PG_CONFIG) --sharedir)/pg_mrl/models
GIVEN_PG_CONFIG = $(if $(filter file,$(origin PG_CONFIG)),,$(PG_CONFIG))

# One profile and one set of features for all calls of cargo, by make or by hand: nothing is
# compiled twice. A server that pgrx-config/config.toml doesn't name is passed by a variable.
CARGO = env $(if $(IN_THE_MAP),,PGRX_PG_CONFIG_PATH='$(PG_CONFIG)') cargo
IN_THE_MAP = $(shell grep -xF '$(FEATURE) = "$(PG_CONFIG)"' pgrx-config/config.toml)
CARGO_FLAGS = --release --locked $(if $(filter pg15,$(FEATURE)),,--no-default-features --features $(FEATURE))
LIBRARY = $(or $(CARGO_TARGET_DIR),target)/release/libpg_mrl.so

DEMO_MODEL := all-MiniLM-L6-v2
NOMIC = $(MODEL_DIR)/nomic-embed-text-v1.5
DENY_VERSION := 0.20.2
FUZZ_VERSION := 0.13.2
PYTHON := build/venv/bin/python
STEP := @pgrx-config/step
CLUSTER := pgrx-config/cluster

# rustup's programs and what we install ourselves, also for a shell that doesn't know of them.
export PATH := $(CURDIR)/build/tools/bin:$(PATH):$(HOME)/.cargo/bin

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1#\2/p' Makefile | column -t -s '#'

## --- trying and testing -------------------------------------------------------------------

.PHONY: demo
demo: server demo-model ## build, get a small model, rank six sentences in a throw-away cluster
	$(STEP) "Running demo/demo.sql in a throw-away cluster (build/clusters/demo)" \
	  $(CLUSTER) with demo -- psql -X -q -v ON_ERROR_STOP=1 -f demo/demo.sql

.PHONY: test
test: test-crates test-sanitize fuzz test-sql test-clients ## all tests

.PHONY: test-crates
test-crates: deps demo-model ## tests of the crates, without a server
	$(STEP) "Testing the crates" $(CARGO) test $(CARGO_FLAGS) --workspace --exclude clients-rust

.PHONY: test-sanitize
test-sanitize: deps ## tests of kernels, vectors and index under the address sanitizer
	$(STEP) "Testing the crates under the address sanitizer" fuzz/sanitize

.PHONY: fuzz
fuzz: folder build/tools/bin/cargo-fuzz ## fuzz targets, SECONDS each (20), all or TARGET=name
	$(STEP) "Compiling the fuzz targets" fuzz/run build
	$(STEP) "Fuzzing" fuzz/run $(or $(SECONDS),20) $(TARGET)

.PHONY: test-sql
test-sql: server demo-model ## regression tests: tests/sql against tests/expected, tests/isolation against its own
	$(STEP) "SQL regression tests" tests/run-sql
	$(STEP) "Isolation tests" tests/run-isolation

.PHONY: test-clients
test-clients: server demo-model build/venv/requirements ## tests through real clients, and the README's SQL
	$(STEP) "Client tests" tests/run-clients

.PHONY: test-replicated
test-replicated: server demo-model build/venv/requirements ## the tests of SQL and clients once more, on a primary with a standby and checked log
	$(STEP) "Tests on a primary with a standby" $(PYTHON) tests/replicated.py

.PHONY: torture
torture: server demo-model build/venv/requirements ## kill -9 of a cluster under writers, CYCLES times (200)
	$(STEP) "Killing a cluster under writers" env CYCLES=$(or $(CYCLES),200) tests/run-clients -k killed_under_writers

.PHONY: test-nomic
test-nomic: folder ## nomic's golden values, with the model installed in MODEL_DIR
	@test -f '$(NOMIC)/model.safetensors' || { printf '%s\n' 'there is no model in $(NOMIC)' \
	  'install it: make model MODEL=$(notdir $(NOMIC)) MODEL_DIR=$(MODEL_DIR)' >&2; exit 1; }
	$(STEP) "$(notdir $(NOMIC)) against its golden values" env MRL_TEST_MODEL_DIR='$(abspath $(MODEL_DIR))' \
	  $(CARGO) test $(CARGO_FLAGS) --workspace --test goldens_nomic -- --nocapture

.PHONY: lint
lint: deps build/tools/bin/cargo-deny ## formatting, clippy, dependencies' licences and sources
	$(STEP) "cargo fmt" cargo fmt --all --check
	$(STEP) "cargo clippy" $(CARGO) clippy $(CARGO_FLAGS) --workspace --all-targets -- -D warnings
	$(STEP) "The same for each release of PostgreSQL" pgrx-config/check-releases
	$(STEP) "The same of the fuzz targets" fuzz/run lint
	$(STEP) "cargo deny" build/tools/bin/cargo-deny --locked check --hide-inclusion-graph bans licenses sources

.PHONY: bench
bench: server demo-model ## benchmarks; the figures are in docs/performance.md
	$(STEP) "Benchmarks of the crates" $(CARGO) bench $(filter-out --release,$(CARGO_FLAGS)) --workspace
	$(STEP) "Benchmarks through SQL" $(CLUSTER) with bench "shared_buffers = '1GB'" -- bench/run

.PHONY: bench-index
bench-index: server demo-model build/venv/requirements ## the index beside pgvector's and VectorChord's, where they are installed: SET=a or b, MEASURE=search …, ARGUMENTS="--rows 50000 …"
	@mkdir -p build/bench
	$(STEP) "Making the data" $(CLUSTER) with data "shared_buffers = '256MB'" -- $(PYTHON) bench/data.py $(if $(filter b,$(SET)),synthetic,texts)
	$(STEP) "Measuring" $(CLUSTER) with bench "shared_buffers = '$(if $(filter b,$(SET)),9GB,5GB)'" "max_wal_size = '20GB'" \
	  "shared_preload_libraries = '$$(test -e "$$(build/server/bin/pg_config --pkglibdir)/vchord.so" && echo vchord || true)'" -- \
	  $(PYTHON) bench/index.py $(or $(MEASURE),search) --set $(or $(SET),a) $(ARGUMENTS)

## --- installing ---------------------------------------------------------------------------

.PHONY: install
install: build ## install the extension into the server of PG_CONFIG
	@pgrx-config/install-extension '$(PG_CONFIG)' $(LIBRARY)

.PHONY: uninstall
uninstall: ## remove it from there
	@pgrx-config/install-extension '$(PG_CONFIG)'

.PHONY: model
model: $(PYTHON) ## fetch, verify and install a model: MODEL=name [MODEL_DIR=folder]
	@$(if $(MODEL),,$(error say which model: make model MODEL=name, one of $(basename $(notdir $(wildcard models/*.json)))))
	@pgrx-config/own-folder '$(MODEL_DIR)'
	@$(PYTHON) models/install.py '$(MODEL)' --dir '$(MODEL_DIR)' $(if $(MODEL_FROM),--from '$(MODEL_FROM)')

## --- the steps that these are made of -----------------------------------------------------

.PHONY: deps
deps: ## install the Debian packages and Rust components that are missing
	@PG_MAJOR='$(PG_MAJOR)' pgrx-config/install-packages '$(GIVEN_PG_CONFIG)'
	@command -v cargo >/dev/null || { echo 'there is no cargo: install Rust, see https://rustup.rs' >&2; exit 1; }
	@cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1 || rustup component add rustfmt clippy

.PHONY: folder
folder: deps
	@pgrx-config/build-folder

.PHONY: build
build: folder ## compile the extension
	$(STEP) "Compiling the extension for $(FEATURE) (the first time takes minutes)" \
	  $(CARGO) build $(CARGO_FLAGS)

.PHONY: server
server: build ## a private copy of the installed server with the extension, in build/server
	$(STEP) "Making a private copy of PostgreSQL in build/server" pgrx-config/server-tree '$(PG_CONFIG)'
	$(STEP) "Installing the extension in it" pgrx-config/install-extension build/server/bin/pg_config $(LIBRARY)

.PHONY: demo-model
demo-model: $(PYTHON)
	$(STEP) "Getting the model $(DEMO_MODEL)" $(PYTHON) models/install.py $(DEMO_MODEL) --dir build/models

$(PYTHON): | folder
	$(STEP) "Making a Python environment in build/venv" python3 -m venv build/venv

build/venv/requirements: tests/clients/requirements.txt $(PYTHON)
	$(STEP) "Installing the tests' Python packages in it" $(PYTHON) -m pip install --quiet -r $<
	@cp $< $@

build/tools/bin/cargo-fuzz: | folder
	$(STEP) "Installing cargo-fuzz $(FUZZ_VERSION) in build/tools" \
	  cargo install cargo-fuzz --locked --version $(FUZZ_VERSION) --root build/tools

build/tools/bin/cargo-deny: | folder
	$(STEP) "Installing cargo-deny $(DENY_VERSION) in build/tools" \
	  cargo install cargo-deny --locked --version $(DENY_VERSION) --root build/tools

.PHONY: clean
clean: ## remove what was made
	@pgrx-config/build-folder --remove
	@rm -rf target
