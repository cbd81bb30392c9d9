# Every target is one script of scripts/, so that what CI runs and what a person runs are the same lines.
.DEFAULT_GOAL := help
.PHONY: help setup build demo test torture soak chaos bench bench-check fmt lint clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: ## install what is missing (apt on Debian and Ubuntu; elsewhere it says what to install)
	@scripts/setup

build: setup ## compile the sidecar (target/release/libsql_port) and the Elixir driver
	@scripts/build

demo: build ## the main job on real data, start to finish, in about a minute
	@scripts/demo

test: setup ## every test suite; ends with one line "N passed, N failed"
	@scripts/test

torture: setup ## load and faults at length; TORTURE_SECONDS=600 for ten minutes, half an hour by default
	@scripts/torture $(if $(TORTURE_SECONDS),--seconds $(TORTURE_SECONDS))

soak: build ## subscriptions, functions and connections that come and go; SOAK_SECONDS=60 for a minute, ten minutes by default
	@scripts/soak

chaos: build ## writers on a server that fails in every way, and a ledger; CHAOS_ROUNDS=200 for a short run, 2,000 by default
	@scripts/chaos

bench: build ## micro, macro and scaling benchmarks; BENCH_QUICK=1 for a short run, BENCH_ONLY=scaling for one
	@scripts/bench

bench-check: setup ## what requests cost in instructions, compared with the figures in benches/instructions.txt
	@scripts/bench-check

fmt: ## format Rust and Elixir sources in place
	@scripts/setup lint && scripts/format

lint: ## formatters in check mode, clippy, Elixir compiled with warnings as errors
	@scripts/setup lint && scripts/lint

clean: ## remove what was built
	@scripts/clean
