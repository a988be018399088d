#!/usr/bin/env bash
# Checks what the tests need, and installs what is missing. To look without installing: GREENROOM_NO_INSTALL=1.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { echo "prepare-tests: $*" >&2; }

# Each thing as "commands:Debian packages"; any of the commands will do. Rust's linker needs a C compiler, the Socket.IO
# tests run the stock JavaScript clients, one of them in a browser; nodes that share rooms share a Redis.
needs=(
    "cc:gcc libc6-dev"
    "node:nodejs"
    "npm:npm"
    "chromium chromium-browser google-chrome:chromium"
    "redis-server:redis-server"
)
# The npm packages of the Socket.IO tests, and a copy of the lock file that they were installed from.
modules=tests/socketio/js
stamp=$modules/node_modules/.installed-from.json

if ! command -v cargo >/dev/null; then
    say "cargo is missing: install Rust (https://rustup.rs), version $(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml) or later"
    exit 1
fi

has_one_of() {
    local name
    for name in "$@"; do
        command -v "$name" >/dev/null && return
    done
    return 1
}

missing=()
for need in "${needs[@]}"; do
    # Names without special characters, to be split at spaces.
    # shellcheck disable=SC2086
    has_one_of ${need%%:*} || missing+=(${need##*:})
done

if [ ${#missing[@]} -gt 0 ]; then
    if [ -n "${GREENROOM_NO_INSTALL:-}" ] || [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        say "missing: ${missing[*]}. On Debian or Ubuntu: sudo apt-get install --no-install-recommends ${missing[*]}"
        exit 1
    fi
    say "installing ${missing[*]}"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install --yes -qq --no-install-recommends "${missing[@]}"
fi

if ! cmp -s "$modules/package-lock.json" "$stamp"; then
    if [ -n "${GREENROOM_NO_INSTALL:-}" ]; then
        say "missing: the npm packages of $modules. To install them: scripts/prepare-tests.sh without GREENROOM_NO_INSTALL"
        exit 1
    fi
    say "installing the npm packages of $modules"
    npm ci --prefix "$modules" --ignore-scripts --no-audit --no-fund --loglevel=error
    cp "$modules/package-lock.json" "$stamp"
fi
