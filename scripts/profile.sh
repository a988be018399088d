#!/usr/bin/env bash
# Takes the CPU profile of the node in cases of the benchmark and writes a flame graph of each to docs/profiles/CASE.svg:
#   scripts/profile.sh fanout flatout many-rooms idle
# The width of a box is its share of the node's samples while the case runs (quick, one round, plain WebSocket).
# Needs perf (package linux-perf) and inferno (cargo install inferno), and the right to sample the kernel.
set -euo pipefail
cd "$(dirname "$0")/.."

[ $# -gt 0 ] || { sed -n '2,5s/^# \{0,1\}//p' "$0" >&2; exit 2; }
for tool in perf inferno-collapse-perf inferno-flamegraph; do
    command -v "$tool" >/dev/null || { echo "profile: $tool is missing, see the head of $0" >&2; exit 1; }
done
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

# Frame pointers tell who calls; they need a build of their own.
RUSTFLAGS="-C force-frame-pointers=yes" cargo build --profile profiling --package greenroom --target-dir target/frames
cargo build --release --package greenroom-bench
commit="$(git rev-parse --short=12 HEAD)"
mkdir -p docs/profiles

for case in "$@"; do
    target/release/greenroom-bench run --quick --runs 1 --case "$case" --results "$work/$case.json" \
        --node target/frames/profiling/greenroom >"$work/log" &
    bench=$!
    node=""
    until [ -n "$node" ]; do
        kill -0 "$bench" 2>/dev/null || { cat "$work/log" >&2; exit 1; }
        node="$(pgrep -P "$bench" -x greenroom | head -n 1 || true)"
    done
    # Ends with the node.
    perf record --quiet --freq 4999 --call-graph fp --pid "$node" --output "$work/perf" || true
    wait "$bench"
    perf script --input "$work/perf" 2>/dev/null | inferno-collapse-perf >"$work/stacks" 2>/dev/null
    inferno-flamegraph --title "greenroom, $case, at $commit" --minwidth 0.4 --hash <"$work/stacks" \
        >"docs/profiles/$case.svg"
    echo "profile: docs/profiles/$case.svg"
done
