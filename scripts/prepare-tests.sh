#!/usr/bin/env bash
# Checks what the tests need, and installs what is missing. To look without installing: GREENROOM_NO_INSTALL=1.
set -euo pipefail

say() { echo "prepare-tests: $*" >&2; }

# Each thing as "command:Debian package": Rust's linker needs a C compiler.
needs=(cc:gcc)

if ! command -v cargo >/dev/null; then
    say "cargo is missing: install Rust (https://rustup.rs), version $(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$(dirname "$0")/../Cargo.toml") or later"
    exit 1
fi

missing=()
for need in "${needs[@]}"; do
    command -v "${need%%:*}" >/dev/null || missing+=("${need##*:}")
done
[ ${#missing[@]} -eq 0 ] && exit 0

if [ -n "${GREENROOM_NO_INSTALL:-}" ] || [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    say "missing: ${missing[*]}. On Debian or Ubuntu: sudo apt-get install --no-install-recommends ${missing[*]} libc6-dev"
    exit 1
fi
say "installing ${missing[*]}"
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install --yes -qq --no-install-recommends "${missing[@]}" libc6-dev
