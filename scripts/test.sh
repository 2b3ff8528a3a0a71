#!/usr/bin/env bash
# The one gate: everything that must hold before a change is taken. CI calls it too.
# Needs a Rust toolchain with rustfmt and clippy; the few Debian packages that the tests use are
# installed if they are missing and this is root on Debian.
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TERM_COLOR="${CARGO_TERM_COLOR:-auto}"
export RUST_BACKTRACE="${RUST_BACKTRACE:-1}"
begin=$SECONDS
took=""
current="set-up"
trap 'code=$?; [ "$code" = 0 ] || echo "FAILED: $current (exit code $code)" >&2' EXIT

step() {
    current="$1"
    shift
    local from=$SECONDS
    printf '\n== %s ==\n' "$current"
    "$@"
    took+="  $((SECONDS - from)) s  $current"$'\n'
}

tools() {
    local missing=() tool
    declare -A package=([cc]=gcc [curl]=curl [openssl]=openssl [python3]=python3 [sqlite3]=sqlite3)
    for tool in "${!package[@]}"; do
        command -v "$tool" >/dev/null || missing+=("${package[$tool]}")
    done
    # Debian has what `python3 -m venv` needs in a package of its own.
    python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
    if [ "${#missing[@]}" -gt 0 ]; then
        if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
            apt-get update -qq
            DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
                "${missing[@]}" >/dev/null
        else
            echo "missing: ${missing[*]}; install them and try again" >&2
            return 1
        fi
    fi
    cargo --version
    cargo fmt --version
    cargo clippy --version
}

documentation() {
    RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps
}

simulation() {
    local loyal="${CARGO_TARGET_DIR:-target}/debug/loyal"
    "$loyal" sim swarm --seeds 1..12 --shrink 0
    "$loyal" sim swarm --seeds 13..16 --shrink 0 --verify
    "$loyal" sim forge --verify
}

step "tools" tools
step "format" cargo fmt --check
step "lints" cargo clippy --locked --all-targets -- -D warnings
step "the pure half alone" cargo clippy --locked --no-default-features -- -D warnings
# All is compiled before the first test runs, the node's own binary too: tests start it as a process.
step "tests are compiled" cargo test --locked --no-run
# Units hardly wait for anything but the processor; one thread more is for those that do.
step "tests: units" cargo test --locked --lib --bins -- --test-threads "$(($(nproc) + 1))"
step "tests: integration, golden vectors, fuzz replay" cargo test --locked --test it
step "tests: examples in the documentation" cargo test --locked --doc
step "the interface and its description" scripts/openapi.sh
step "simulation: swarm seeds, two runs of a seed" simulation
step "documentation" documentation

current="done"
printf '\nPASS: every step, in %d s\n%s' "$((SECONDS - begin))" "$took"
