# The commands of this repository. Each works from a clean clone with Rust installed; `make test` installs what else it
# lacks and says so.

.DEFAULT_GOAL := build
.PHONY: build run cluster test lint bench report

# The features that the tests need and that no released binary has: probes and fault switches.
TESTING := --features greenroom-actors/testing

# The node as it is deployed: target/release/greenroom.
build:
	cargo build --release

# A node on embedded defaults: no Redis, no Docker, no keys.
run:
	cargo run --release --quiet -- serve

# Redis, three nodes and HAProxy on this machine, until Ctrl-C; PORT=... is the proxy's.
cluster:
	./scripts/cluster.sh

test:
	./scripts/prepare-tests.sh
	cargo test --workspace $(TESTING)

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets $(TESTING) -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps $(TESTING)

# Measures a running node with real sockets beside the floor (about a quarter of an hour), soaks one (half an hour more)
# and writes docs/BENCHMARKS.md. BENCH takes options, and then there is no soak but by its name:
# make bench BENCH='--case fanout --runs 1'.
bench:
	cargo build --release --package greenroom --package greenroom-bench
	target/release/greenroom-bench run --node target/release/greenroom $(BENCH)
	$(if $(BENCH),,target/release/greenroom-bench run --node target/release/greenroom --case soak)
	target/release/greenroom-bench report

# The validation report: docs/REPORT.md.
report:
	./scripts/report.sh
