#!/usr/bin/env bash
# Figures, no judgement: delivery under every mix of liars, the price of a flood, start time, idle cost.
# Usage: scripts/bench.sh [--runs N] [--only mixed,flood,start,idle]
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release --quiet
exec python3 scripts/bench.py "$@"
