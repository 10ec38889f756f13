# One command each; `make help` lists them. Everything real happens in CMake and in scripts/.
BUILD ?= build
export CCACHE_BASEDIR := $(CURDIR)
export CCACHE_NOHASHDIR := 1

.DEFAULT_GOAL := build
.PHONY: build all setup test test-asan sim chaos fuzz demo bench format clean help

help: ## List these targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

setup: ## Install what the build needs: Debian packages and the pinned libtorch (asks sudo when not root)
	@scripts/setup.sh

build: setup ## Build the release binaries into build/bin
	@cmake --preset release -B $(BUILD) >$(BUILD).log 2>&1 || { cat $(BUILD).log; exit 1; }
	@rm -f $(BUILD).log
	@cmake --build $(BUILD) --target binaries

all: build ## Build everything: the binaries, tests and benchmarks
	@cmake --build $(BUILD)

test: all ## Build, then run every test: unit, integration, end to end, Python
	@scripts/test.sh $(BUILD)

test-asan: setup ## Run the unit tests under the address and undefined-behaviour sanitizers
	@cmake --preset asan
	@cmake --build build-asan
	@ctest --test-dir build-asan -L unit --output-on-failure

SEEDS ?= 2000
FIRST_SEED ?= 1
sim: setup ## Run the simulator: SEEDS=N from FIRST_SEED=S on, or SEED=x alone, explained
	@cmake --preset release -B $(BUILD) >$(BUILD).log 2>&1 || { cat $(BUILD).log; exit 1; }
	@rm -f $(BUILD).log
	@cmake --build $(BUILD) --target sim
	@$(BUILD)/test/sim --jobs $$(nproc) $(if $(SEED),--seed $(SEED),--seeds $(SEEDS) --first-seed $(FIRST_SEED))

chaos: SECONDS ?= 600
chaos: all ## Kill, freeze and cut off the real binaries, at random for SECONDS=600, by SEED=x
	@CYXWIZ_CHAOS_SECONDS=$(SECONDS) CYXWIZ_CHAOS_SEED=$(SEED) scripts/test.sh --chaos $(BUILD)

fuzz: SECONDS ?= 60
fuzz: setup ## Fuzz the readers of data and models with clang, SECONDS=n each, or one alone: TARGET=csv
	@scripts/fuzz.sh build-fuzz $(SECONDS) $(TARGET)

demo: build ## Train Fashion-MNIST on an embedded cluster and print accuracy and where the weights are
	@scripts/demo.sh $(BUILD)

bench: all ## Measure, and write bench/RESULTS.md
	@bench/run.sh $(BUILD)

format: ## Format the C++ sources
	@git ls-files '*.cc' '*.h' | xargs clang-format -i

clean: ## Remove build folders (the libtorch cache stays)
	@rm -rf build build-asan build-tsan build-debug build-fuzz
