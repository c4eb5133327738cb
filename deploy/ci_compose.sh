#!/usr/bin/env bash
# Builds the five images and runs the demo through them, for real. Skips, saying so, where there is no Docker engine.
set -euo pipefail
cd "$(dirname "$0")/.."

engine=../shared/tools/docker-engine
if ! docker info >/dev/null 2>&1 && [ -x "$engine" ]; then
  echo "no Docker engine answers: starting one"
  "$engine" up
fi
if ! docker info >/dev/null 2>&1; then
  echo "SKIPPED: no Docker engine on this machine, so the images were not built and compose was not run"
  exit 0
fi
if docker compose version >/dev/null 2>&1; then compose=(docker compose); else compose=(docker-compose); fi

export COMPOSE_PROJECT_NAME=fusionrec-ci
down() { "${compose[@]}" down --volumes --remove-orphans --timeout 20 >/dev/null 2>&1 || true; }
trap down EXIT
down

make demo-compose

echo "== each container: healthy, not root, only its own packages"
# package that must be there : packages that must not be
declare -A has=([ingestion]=grpc [embedding]=tensorflow [candidates]=faiss [ranker]=lightgbm [evaluator]=grpc)
declare -A lacks=([ingestion]="faiss tensorflow numba lightgbm" [embedding]="faiss lightgbm implicit"
  [candidates]="tensorflow keras lightgbm" [ranker]="tensorflow faiss implicit" [evaluator]="tensorflow faiss lightgbm")
for service in ingestion embedding candidates ranker evaluator; do
  container=$("${compose[@]}" ps -q "$service")
  health=$(docker inspect --format '{{.State.Health.Status}}' "$container")
  user=$("${compose[@]}" exec -T "$service" id -u)
  "${compose[@]}" exec -T "$service" python - "${has[$service]}" ${lacks[$service]} <<'PY'
import importlib.util, sys
needed, *unwanted = sys.argv[1:]
assert importlib.util.find_spec(needed), f"{needed} is missing"
found = [name for name in unwanted if importlib.util.find_spec(name)]
assert not found, f"does not belong here: {found}"
PY
  [ "$health" = healthy ] || { echo "$service is $health"; exit 1; }
  [ "$user" != 0 ] || { echo "$service runs as root"; exit 1; }
  size=$(docker image inspect --format '{{.Size}}' "fusionrec/$service")
  echo "$service: $health, uid $user, image $((size / 1000000)) MB"
done

echo "== the demo's figures: the fusion is worth its name"
"${compose[@]}" exec -T evaluator python - <<'PY'
import json
from fusionrec.channel import connect
from fusionrec.evaluator.v1 import evaluator_service_pb2 as pb, evaluator_service_pb2_grpc as rpc
stub = rpc.EvaluatorServiceStub(connect("127.0.0.1:50055"))
models = json.loads(stub.GetReport(pb.GetReportRequest(report_id="latest")).json)["models"]
figures = {name: round(model["ndcg@10"], 4) for name, model in models.items()}
print("warm NDCG@10:", figures)
best = max(value for name, value in figures.items() if not name.startswith("fusion"))
assert figures["fusion"] >= 0.135, "the fusion misses its target of .135"
assert figures["fusion"] > best, "a single source is better than the fusion"
PY

echo "== SIGTERM drains: every container stops with exit code 0"
"${compose[@]}" stop --timeout 20
for service in ingestion embedding candidates ranker evaluator; do
  code=$(docker inspect --format '{{.State.ExitCode}}' "$("${compose[@]}" ps -aq "$service" 2>/dev/null || "${compose[@]}" ps -q "$service")")
  [ "$code" = 0 ] || { echo "$service stopped with exit code $code"; exit 1; }
done
echo "compose: ok"
