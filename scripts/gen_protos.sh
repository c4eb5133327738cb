#!/usr/bin/env bash
# Generates shared/gen from protos/. With --check: generates elsewhere and fails if shared/gen differs.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
out=shared/gen
if [ "${1:-}" = --check ]; then
  out=$(mktemp -d)
  trap 'rm -rf "$out"' EXIT
fi
find "$out" -name '*_pb2*' -delete 2>/dev/null || true
mkdir -p "$out"
# The folder layout protos/fusionrec/<svc>/v1 makes the imports right as they are: shared/gen is a package root.
PATH="$(dirname "$(command -v "$python")"):$PATH" "$python" -m grpc_tools.protoc -Iprotos \
  --python_out="$out" --grpc_python_out="$out" --mypy_out=quiet:"$out" --mypy_grpc_out=quiet:"$out" \
  $(find protos -name '*.proto' | sort)
# protoc writes service stubs for files without a service, too: empty, never imported.
for stub in "$out"/fusionrec/common/v1/*_pb2_grpc.py*; do rm -f "$stub"; done
if [ "$out" != shared/gen ]; then
  diff -r --exclude='__pycache__' "$out" shared/gen || { echo "shared/gen is stale: run 'make proto'" >&2; exit 1; }
  echo "shared/gen is up to date"
fi
