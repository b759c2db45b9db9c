# The commands of the project; `make help` lists them. Each installs what it needs first.

export PATH := $(CURDIR)/.cache/bin:$(PATH)
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.NOTPARALLEL:
.PHONY: help demo test check bench soak ui deb sbom setup test-rust test-page test-vm test-deb test-board
.DEFAULT_GOAL := help

help: ## these lines
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

demo: ## the demo line on air, without cameras, PLC or broker of yours (ARGS=--strip)
	@scripts/setup demo
	@scripts/ui
	@scripts/demo $(ARGS)

# What the machines run is built in the idle moments of what is before them. The package, and all
# that a board can meet, have targets of their own: with them it would take more than 45 minutes.
test: ## check, Rust and browser tests, the ARM64 machine, updates of the board
	@scripts/setup test
	@scripts/ui
	@tests/vm/ahead >/dev/null 2>&1 &
	@$(MAKE) --no-print-directory check-now test-peers-now test-page-now test-vm-now test-board-now

check: ## the quick gate: format, lints, dependencies, types, unit tests
	@scripts/setup check
	@$(MAKE) --no-print-directory check-now

bench: ## the figures of the README, measured here
	@scripts/setup test
	@scripts/ui
	@scripts/bench $(ARGS)

soak: ## an hour with viewers, ten minutes of camera faults: does it grow? (ARGS="--minutes 5")
	@scripts/setup test
	@scripts/ui
	@scripts/soak $(ARGS)

ui: ## the page, built into src/web/ui/dist
	@scripts/setup demo
	@scripts/ui

deb: ## the Debian package (ARGS="--arch arm64")
	@scripts/setup deb
	@scripts/deb $(ARGS)

sbom: ## what is linked into a box's daemon, as CycloneDX (ARGS=x86_64-unknown-linux-gnu)
	@scripts/setup deb
	@mkdir -p target
	@scripts/sbom $(or $(ARGS),aarch64-unknown-linux-gnu) --no-default-features >target/floorcast.cdx.json
	@echo target/floorcast.cdx.json

setup: ## install everything that the other targets need
	@scripts/setup test

test-rust: ## unit and integration tests against real peers
	@scripts/setup test
	@$(MAKE) --no-print-directory test-rust-now

test-page: ## the page in real browsers
	@scripts/setup test
	@$(MAKE) --no-print-directory test-page-now

test-deb: ## the Debian package's life in a fresh root
	@scripts/setup test
	@$(MAKE) --no-print-directory test-deb-now

test-vm: ## the daemon on an ARM64 kernel with V4L2 cameras (ARGS=scenario)
	@scripts/setup test
	@$(MAKE) --no-print-directory test-vm-now

test-board: ## updates and power cuts on an emulated board (ARGS="all --cuts 100")
	@scripts/setup test
	@$(MAKE) --no-print-directory test-board-now

# The same without set-up.
.PHONY: check-now test-rust-now test-peers-now test-page-now test-deb-now test-vm-now test-board-now

check-now:
	@scripts/ui check
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo clippy --locked --all-targets --no-default-features -- -D warnings
	scripts/deny
	scripts/recipes
	cargo test --locked --lib

test-rust-now:
	@scripts/ui
	cargo test --locked

# Without the unit tests, which check-now has run.
test-peers-now:
	@scripts/ui
	cargo test --locked --test '*'

# As the tests build it: `cargo build` alone has other features of some crates, and takes minutes.
test-page-now:
	@scripts/ui
	cargo test --locked --no-run
	scripts/test-page

# The daemon as the tests built it, with the demo line.
test-deb-now:
	@scripts/ui
	cargo test --locked --no-run
	tests/deb/run

test-vm-now:
	@scripts/ui
	tests/vm/run $(ARGS)

test-board-now:
	@scripts/ui
	tests/vm/board/run $(ARGS)
