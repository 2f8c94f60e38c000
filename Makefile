# `make` or `make help` lists what there is. Downloads and build output go to ~/.cache/millrace
# (MILLRACE_CACHE_DIR, CARGO_TARGET_DIR), apart from the web app's web/node_modules and web/dist.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup web build run test bench fmt lint clean

# Arguments for the server: make run ARGS="--listen 127.0.0.1:9000"
# or for the bench: make bench ARGS="logs --rounds 1"
ARGS ?=

help: ## this list
	@echo 'make TARGET, where TARGET is one of'
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  %-6s %s\n", $$1, $$2 }' Makefile

setup: ## install what building and running need and is missing
	@scripts/setup

web: setup ## build the web app, if it changed
	@scripts/web

build: web ## build the release binary
	@. scripts/env; cargo build --release -p millrace; echo "built $$CARGO_TARGET_DIR/release/millrace"

run: build ## start the server with demo content; ARGS="…" goes to it
	@. scripts/env; clips="$$(scripts/demo-clips)"; \
	    exec "$$CARGO_TARGET_DIR/release/millrace" serve --demo "$$clips" $(ARGS)

test: ## install what the tests need and is missing, and run all of them
	@scripts/setup test
	@scripts/test

bench: setup ## measure the release build beside its peers; ARGS="…" goes to it
	@scripts/bench $(ARGS)

fmt: ## format the code
	@. scripts/env; cargo fmt --all; cd web; npm run format

lint: web ## check format and lints
	@. scripts/env; cargo fmt --all --check; scripts/web check; \
	    cargo clippy --workspace --all-targets --all-features -- -D warnings

clean: ## remove build output; downloads, demo clips and ./data stay
	@. scripts/env; rm -rf web/dist web/node_modules tests/browser/node_modules; cargo clean
