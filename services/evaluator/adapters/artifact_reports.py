"""Reports as artifacts of kind "report": report.json, with what a list needs in the manifest."""

from __future__ import annotations

import asyncio
import json
import tempfile
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from services.evaluator.reports.report import ReportSummary
from shared.errors import CorruptData, ModelNotReady, NotFound

if TYPE_CHECKING:
    from services.evaluator.reports.report import Report
    from shared.artifacts import ArtifactStore, Manifest

log = structlog.get_logger(__name__)

KIND = "report"
FILE = "report.json"
LATEST = "latest"


class ArtifactReports:
    """Keeps reports in an artifact store. The store's files are read and written on a thread."""

    def __init__(self, store: ArtifactStore) -> None:
        self._store = store

    async def publish(self, report: Report) -> str:
        """See `ports.Reports`."""
        return await asyncio.to_thread(self._publish, report)

    async def page(self, *, after: str, size: int) -> tuple[list[ReportSummary], str]:
        """See `ports.Reports`. A report whose manifest cannot be read is left out, and the log says so."""
        return await asyncio.to_thread(self._page, after, size)

    async def get(self, report_id: str) -> tuple[ReportSummary, str]:
        """See `ports.Reports`."""
        return await asyncio.to_thread(self._get, report_id)

    def _publish(self, report: Report) -> str:
        with tempfile.TemporaryDirectory() as folder:
            text = json.dumps(report.as_json(), indent=2, ensure_ascii=False)
            (Path(folder) / FILE).write_text(text, encoding="utf-8")
            manifest = self._store.publish(
                KIND,
                Path(folder),
                data=report.data,
                lineage=report.versions,
                labels={"protocol": str(report.protocol)},
                metrics={name: report.headline(name) for name in report.models},
                make_current=True,
            )
        return manifest.version

    def _page(self, after: str, size: int) -> tuple[list[ReportSummary], str]:
        # Versions begin with their time: a smaller one is older.
        older = [version for version in self._store.versions(KIND) if not after or version < after]
        chosen = older[:size]
        summaries = []
        for version in chosen:
            try:
                summaries.append(_summary(self._store.manifest(KIND, version)))
            except (CorruptData, NotFound) as error:
                log.warning("report left out of the list", report=version, reason=error.message)
        return summaries, chosen[-1] if len(older) > size else ""

    def _get(self, report_id: str) -> tuple[ReportSummary, str]:
        try:
            loaded = self._store.load(KIND, None if report_id == LATEST else report_id)
        except ModelNotReady as error:
            raise NotFound("there is no report yet: run `fusionrec evaluate`") from error
        except NotFound as error:
            raise NotFound("no report of that id: ListReports has the ids, or ask for latest") from error
        try:
            text = (loaded.folder / FILE).read_text(encoding="utf-8")
        except FileNotFoundError as error:
            raise CorruptData(f"report {loaded.manifest.version}: file {FILE} is missing") from error
        return _summary(loaded.manifest), text


def _summary(manifest: Manifest) -> ReportSummary:
    return ReportSummary(
        report_id=manifest.version,
        protocol=manifest.labels.get("protocol", ""),
        created_at=datetime.fromisoformat(manifest.created_at),
        versions=manifest.lineage,
        ndcg_at_10=manifest.metrics,
    )
