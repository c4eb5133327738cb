"""Every Prometheus metric of every service, by name, once. `docs/settings.md` lists them for operators."""

from __future__ import annotations

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, start_http_server

_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)

RPC_SECONDS = Histogram(
    "fusionrec_rpc_seconds", "Time of a call inside the server", ("service", "method", "code"), buckets=_SECONDS
)
STAGE_SECONDS = Histogram(
    "fusionrec_stage_seconds", "Time of the work of one stage", ("service", "stage"), buckets=_SECONDS
)
DEGRADED = Counter("fusionrec_degraded_total", "Answers given without a component", ("service", "component"))
READY = Gauge("fusionrec_ready", "1 when the service is SERVING", ("service",))
MODEL_SWAPS = Counter("fusionrec_model_swaps_total", "Artifact loads by outcome", ("service", "kind", "outcome"))

EVENTS_WRITTEN = Counter("fusionrec_events_written_total", "Events by what became of them", ("status",))
ITEMS_WRITTEN = Counter("fusionrec_items_written_total", "Items by what became of them", ("status",))
COMMIT_SECONDS = Histogram("fusionrec_commit_seconds", "Time of one durable commit", buckets=_SECONDS)

EMBED_TEXTS = Counter("fusionrec_embed_texts_total", "Texts embedded, by where the vector came from", ("origin",))
EMBED_CACHE = Counter(
    "fusionrec_embed_cache_total", "Texts looked up, by where their vector was kept: memory, file, none", ("place",)
)
EMBED_TOKENS = Counter("fusionrec_embed_tokens_total", "Real tokens computed")
EMBED_QUEUE = Gauge("fusionrec_embed_queue_texts", "Texts waiting for a batch")
EMBED_BATCH = Histogram(
    "fusionrec_embed_batch_texts", "Texts per computed batch", buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256)
)

CATALOGUE_ITEMS = Gauge("fusionrec_catalogue_items", "Items known to the service", ("service",))
LOG_SEQUENCE = Gauge("fusionrec_log_sequence", "Log position read up to", ("service",))
SOURCE_SECONDS = Histogram("fusionrec_source_seconds", "Time of one candidate source", ("source",), buckets=_SECONDS)

IMPRESSIONS = Counter("fusionrec_impressions_total", "Impressions by what became of them", ("outcome",))
EXPLORE_OUTCOMES = Counter(
    "fusionrec_explore_outcomes_total", "What exploration has learned from: impressions, successes", ("kind",)
)
FILES_READ = Counter(
    "fusionrec_files_read_total",
    "Readings of a changed file (rules, experiments): loaded, refused",
    ("file", "outcome"),
)
REPLY_CACHE = Counter("fusionrec_reply_cache_total", "Answers by where they came from: kept, computed", ("outcome",))
REPLY_CACHE_RESULTS = Gauge("fusionrec_reply_cache_results", "Results of kept answers, and ids in their requests")
SENTENCES = Counter(
    "fusionrec_sentences_total", "Sentences by a language model: written, refused, late, busy, failed", ("outcome",)
)
CIRCUIT_OPEN = Gauge("fusionrec_circuit_open", "1 while a neighbour that hangs is not asked", ("neighbour",))


def serve_metrics(port: int, host: str = "127.0.0.1") -> None:
    """Serves the metrics over HTTP at /metrics on `port`; 0 leaves them unserved.

    Raises:
        OSError: the port is taken.

    """
    if port:
        start_http_server(port, addr=host, registry=REGISTRY)
