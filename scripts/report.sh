#!/usr/bin/env bash
# Writes docs/REPORT.md: the validation report. Every figure is computed here, from the code as it is now.
# With a path as argument, writes there instead.
set -euo pipefail
cd "$(dirname "$0")/.."

out="${1:-docs/REPORT.md}"
testing=(--features greenroom-actors/testing)
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
say() { echo "report: $*" >&2; }

./scripts/prepare-tests.sh

say "running the tests"
failed=no
cargo test --workspace "${testing[@]}" --no-fail-fast >"$work/tests" 2>"$work/tests.err" || failed=yes
if ! grep -q '^test result:' "$work/tests"; then
    cat "$work/tests.err" >&2
    exit 1
fi
# "test NAME ... ok", "... FAILED", "... ignored".
grep -aE '^test .* \.\.\. ' "$work/tests" >"$work/results" || true
count() { grep -acE "$1" "$work/results" || true; }

say "counting functions over 60 lines"
touch src/lib.rs actors/src/lib.rs
# Warnings only, so that no other lint keeps a crate from being looked at.
cargo clippy --workspace --all-targets "${testing[@]}" --message-format short -- --cap-lints warn -W clippy::too_many_lines \
    >"$work/clippy" 2>&1 || true
long=$({ grep -a 'this function has too many lines' "$work/clippy" || true; } | sort -u | wc -l)
excepted=$({ git grep -n 'clippy::too_many_lines' -- '*.rs' || true; } | wc -l)

say "counting the rest"
lines() { git ls-files -- "${@/%//*.rs}" | xargs -r cat | wc -l; }
crates=$(cargo metadata --format-version 1 | grep -o '"id":"[^"]*"' | sort -u | wc -l)
runtime=$(cargo tree --package greenroom --edges normal --prefix none --format '{p}' | sed 's/ (\*)$//' | sort -u | wc -l)
binary="not built: run make build"
if [ -f target/release/greenroom ]; then
    binary="$(stat --format %s target/release/greenroom) bytes"
fi

table_of_files() {
    echo "| Lines | File |"
    echo "|---:|---|"
    git ls-files '*.rs' | xargs wc -l | grep -v ' total$' | sort -rn | head -10 | awk '{print "| " $1 " | `" $2 "` |"}'
}

acceptance() {
    # Tests of tests/acceptance/, by the part's file: the module is part of the name.
    local files
    files=$(git ls-files 'tests/acceptance/*.rs' 'tests/acceptance.rs')
    if [ -z "$files" ]; then
        echo "There are none yet."
        return
    fi
    echo "| Test | Result |"
    echo "|---|---|"
    # shellcheck disable=SC2086
    grep -hA4 -E '^\s*#\[(actix_rt::|tokio::)?test' $files | grep -oE 'fn [a-z0-9_]+' | sed 's/^fn //' | sort -u | while read -r name; do
        result=$(grep -aE "^test ([a-z0-9_]+::)*$name \.\.\. " "$work/results" | head -1 | sed 's/.*\.\.\. //')
        echo "| \`$name\` | ${result:-not run} |"
    done
}

performance() {
    if [ -f docs/BENCHMARKS.md ]; then
        # The headings become one level smaller, below this section's.
        sed '1{/^# /d}' docs/BENCHMARKS.md | sed 's/^#/##/'
    else
        echo "Not measured yet: \`make bench\` writes \`docs/BENCHMARKS.md\`."
    fi
}

say "writing $out"
mkdir -p "$(dirname "$out")"
{
    echo "# Validation report"
    echo
    echo "Written by \`make report\` at commit $(git rev-parse --short HEAD)$(git diff --quiet HEAD || echo ', with changes that are not committed'), $(date -u +%Y-%m-%d), $(rustc --version)."
    echo
    echo "## Quality"
    echo
    echo "| Figure | Value |"
    echo "|---|---|"
    echo "| Tests (\`cargo test --workspace ${testing[*]}\`) | $(count .) |"
    echo "| of them passed | $(count '\.\.\. ok$') |"
    echo "| of them failed | $(count '\.\.\. FAILED$') |"
    echo "| of them ignored | $(count '\.\.\. ignored') |"
    echo "| Functions over 60 lines (clippy \`too_many_lines\`) | $long |"
    echo "| Exceptions from that rule in the code | $excepted |"
    echo "| Lines of Rust: edge (\`src\`) | $(lines src) |"
    echo "| Lines of Rust: node (\`actors/src\`) | $(lines actors/src) |"
    echo "| Lines of Rust: tests, examples, bench | $(lines tests actors/tests examples bench) |"
    echo "| Crates in the lock file, of all platforms and of the tests | $crates |"
    echo "| Crates that the binary is built of | $runtime |"
    echo "| Size of the released binary | $binary |"
    echo
    echo "The ten longest files:"
    echo
    table_of_files
    echo
    echo "## Acceptance tests"
    echo
    acceptance
    echo
    echo "## Performance"
    echo
    performance
} >"$work/report"
mv "$work/report" "$out"

if [ "$failed" = yes ]; then
    say "written, but tests failed:"
    grep -aE '\.\.\. FAILED$' "$work/results" >&2 || cat "$work/tests.err" >&2
    exit 1
fi
