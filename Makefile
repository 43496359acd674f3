# Each target is one line that could be typed; CI runs the same ones.
.DEFAULT_GOAL := help
.PHONY: help run check test test-slow test-v2 soak density fuzz bench simulate generate

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: ## Build, start the platform in the foreground, deploy examples/hello; Ctrl-C ends it
	@scripts/run

check: ## Format, lints, licences and bans, documentation, shell scripts
	@scripts/check

test: ## Every test, sandboxes and end to end included (needs root; asks sudo once)
	@scripts/test

test-slow: ## The long tier: tests marked as slow, and a minute of fuzzing for each parser
	@scripts/test --slow
	@scripts/fuzz 60

test-v2: ## The suites and the systemd unit in an emulated Debian 12 with pure cgroup v2 (10 to 30 minutes)
	@tests/v2/run

soak: ## Everything at once, round after round, and nothing may be left or grow: MINUTES=60
	@DOCKLESS_SOAK_MINUTES=$(or $(MINUTES),60) scripts/test --slow --no-capture -E 'binary(soak)'

density: ## Many deployments that nobody asks for: what they cost, how the next one wakes: COUNT=10000
	@DOCKLESS_DENSITY=$(or $(COUNT),10000) scripts/test --slow --no-capture -E 'binary(density)'

fuzz: ## Feed every parser of outside bytes with what libFuzzer makes up: SECONDS=60 for each, TARGETS="layer names" for some
	@scripts/fuzz $(or $(SECONDS),60) $(TARGETS)

bench: ## Measure the promises of SPECIFICATION.md against Docker and bare Node (needs root)
	@bench/run

simulate: ## Run the pool's decisions in virtual time, with faults: STEPS=100000000 SEED=1
	@cargo run --quiet --release --package dockless-simulate -- --steps $(or $(STEPS),100000000) --seed $(or $(SEED),1)

generate: ## Write the command-line reference from the program itself
	@scripts/generate
