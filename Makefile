# The commands of this repository. Each works from a clean clone; `make test` installs what it lacks and says so.

.PHONY: run test lint bench build

# A node on embedded defaults: no Redis, no Docker, no keys.
run:
	cargo run --release --quiet -- serve
