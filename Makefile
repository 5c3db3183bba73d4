# Every target does what it needs itself and asks nothing. `make` alone lists them.

CARGO ?= cargo
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/twofold
# Outside the clone, so that a fresh clone builds on what is there.
CARGO_TARGET_DIR ?= $(CACHE)/target
export CARGO_TARGET_DIR
export TWOFOLD_CACHE := $(CACHE)

# RocksDB is some 400 C++ files. Where ccache is installed, compiling them again costs seconds.
ifneq ($(filter default undefined,$(origin CXX)),)
ifneq ($(and $(shell command -v ccache 2>/dev/null),$(shell command -v g++ 2>/dev/null)),)
CXX := ccache g++
export CXX
endif
endif

# Our own crates with assertions; the dependencies as in the shipped binary.
TEST := $(CARGO) --config .config/test-profile.toml
export TWOFOLD := $(CARGO_TARGET_DIR)/release/twofold

.DEFAULT_GOAL := help
.PHONY: help demo setup build cuda model test fmt lint unit doc conformance frameworks differential schemathesis deny crash recall bench bench-encode bench-latency bench-search bench-filters bench-many bench-late bench-bm25 scale evaluate nave-colbert nave-cross-encoder mpnet mteb env
# Cargo builds in parallel by itself.
.NOTPARALLEL:

help: ## List what there is
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: build model ## Build, fetch the model, ingest the documentation and ask it three questions
	@scripts/demo.sh

setup: ## Install the compilers that are missing (Debian, Ubuntu), or name them
	@scripts/setup.sh build

build: setup ## Build the binary that is shipped
	$(CARGO) build --release --locked -p twofold-server

cuda: setup ## Build the binary for NVIDIA GPUs (no GPU needed)
	@scripts/cuda.sh $(CACHE)

model: build ## Fetch the default model
	@scripts/model.sh

test: setup fmt lint model unit doc conformance ## Everything that has to pass

fmt: ## Check the formatting
	$(CARGO) fmt --all --check

lint: setup ## Run clippy with warnings denied
	$(TEST) clippy --release --workspace --all-targets --locked -- -D warnings

unit: setup ## Run the unit and integration tests
	@scripts/tests.sh

doc: setup ## Run the examples in the documentation
	$(TEST) test --doc --release --workspace --locked

conformance: model ## Run stock clients against a server
	@scripts/conformance.sh

frameworks: model ## Run the stores of LangChain, LlamaIndex and Haystack, and the JavaScript client
	@scripts/frameworks.sh

differential: build ## Compare the API with the stock client's local mode at length
	@scripts/conformance.sh --differential 600

schemathesis: build ## Send requests made from the OpenAPI document, valid and not
	@scripts/schemathesis.sh 40

deny: ## Check licences, advisories and sources of the dependencies
	@if $(CARGO) deny --version >/dev/null 2>&1; then $(CARGO) deny --all-features check; \
	else echo "cargo-deny is not installed: cargo install --locked cargo-deny"; fi

crash: setup model ## Crash at every fail point and at random moments, many times
	@scripts/crash.sh

recall: setup ## Measure the recall of the search
	@scripts/recall.sh $(CACHE)/recall

bench: build model ## Measure speed
	@scripts/bench.sh $(CACHE)/bench

bench-encode: build model ## Measure the encoder beside onnxruntime and torch
	@scripts/bench_encode.sh $(CACHE)/bench-encode

bench-latency: setup model ## Measure queries alone and beside ingestion
	@scripts/bench_latency.sh $(CACHE)/bench

bench-search: build model ## Measure the search beside peers
	@scripts/bench_search.sh $(CACHE)/recall docs/benchmarks

bench-filters: setup ## Measure filters, pages, counts and facets
	@scripts/filters.sh

bench-many: setup ## Measure a start with 2,000 small collections
	@scripts/many_collections.sh

bench-late: setup ## Measure searches in multivectors (NAVE=DIRECTORY)
	@scripts/late_interaction.sh $(CACHE)/bench-late

bench-bm25: setup ## Measure searches by BM25
	@scripts/bm25_speed.sh $(CACHE)/recall

scale: setup ## Measure large collections
	@scripts/scale.sh $(CACHE)/recall docs/benchmarks

evaluate: build model ## Measure retrieval quality on the Nave judgements (NAVE=DIRECTORY)
	@scripts/evaluate.sh $(CACHE)/evaluate docs/retrieval

nave-colbert: model ## Train a ColBERT model on the Nave judgements (NAVE=DIRECTORY)
	@scripts/nave_models.sh colbert

nave-cross-encoder: model ## Train a cross-encoder on the Nave judgements (NAVE=DIRECTORY)
	@scripts/nave_models.sh cross-encoder

mpnet: build ## Fetch all-mpnet-base-v2
	@scripts/mpnet.sh

mteb: build model ## Run mteb against the server's embeddings on the Nave judgements (NAVE=DIRECTORY)
	@scripts/mteb.sh $(CACHE)/mteb-nave

env: ## Print the environment these targets build in, for eval
	@echo 'export CARGO_TARGET_DIR="$(CARGO_TARGET_DIR)"'
	@$(if $(filter file,$(origin CXX)),echo 'export CXX="$(CXX)"',true)
