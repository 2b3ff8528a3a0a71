#!/usr/bin/env bash
# Writes the samples in README anew, from what the release build prints. The gate says when they
# are stale.
set -euo pipefail
cd "$(dirname "$0")/.."
LOYAL_BLESS=1 cargo test --locked --release --test it samples_are_what_is_printed
git diff --stat README.md
