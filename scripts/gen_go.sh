#!/usr/bin/env bash
# Generates Go stubs: scripts/gen_go.sh [PROTOS] [OUT]. Needs protoc, protoc-gen-go and protoc-gen-go-grpc on PATH.
set -euo pipefail
# One run a package: older protoc-gen-go takes one import path at a time.
PROTOS=${1:-protos} OUT=${2:-gen}
mkdir -p "$OUT"
map=""
for file in $(cd "$PROTOS" && find fusionrec -name '*.proto'); do
  service=$(echo "$file" | cut -d/ -f2)
  map="$map,M$file=fusionrec/$service/v1;${service}v1"
done
for service in common ingestion embedding candidates ranker evaluator; do
  protoc -I"$PROTOS" --go_out="${map#,}:$OUT" --go-grpc_out="${map#,}:$OUT" "$PROTOS"/fusionrec/$service/v1/*.proto
done
