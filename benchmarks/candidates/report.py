"""The figures of the candidates service as Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.candidates.targets import verdicts
from benchmarks.candidates.writes import PHASES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


def markdown(figures: Mapping[str, Any]) -> str:
    """Returns the page of one run: what is met, then a section for each part that was measured."""
    environment, parts = figures["environment"], figures["parts"]
    head = "# Figures of the candidates service alone\n\n"
    head += ", ".join(f"{name} {value}" for name, value in environment.items()) + "\n"
    if figures["small"]:
        head += "\nA quick run on a slice of the data: no figure here says anything about the targets.\n"
        return head + "".join(_section(name, parts) for name in _SECTIONS)
    rows = [[one.name, f"{one.value:.4g}", one.bound, "met" if one.met else "**missed**"] for one in verdicts(parts)]
    head += "\n" + table(["target", "measured", "bound", ""], rows)
    return head + "".join(_section(name, parts) for name in _SECTIONS)


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Returns a Markdown table."""
    names = list(head)
    lines = [names, ["---"] * len(names), *(["" if cell is None else str(cell) for cell in row] for row in rows)]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def _section(name: str, parts: Mapping[str, Any]) -> str:
    if name not in parts:
        return ""
    title, render = _SECTIONS[name]
    return f"\n## {title}\n\n{render(parts[name])}"


def _quality(part: Mapping[str, Any]) -> str:
    warm, new = part["warm"], part["new_items"]
    sources = sorted(warm["sources"].items(), key=lambda one: -one[1]["ndcg@10"])
    columns = list(sources[0][1])
    text = f"Warm, {warm['users']} users. Times in µs, one thread, medians.\n\n"
    text += table(["source", *columns], [[name, *one.values()] for name, one in sources])
    text += "\nUnion, 300 candidates, share of the relevant items:\n\n"
    text += table(["merged", "recall"], warm["union"].items())
    text += f"\nNew items, {new['users']} users, {new['hidden']} hidden items ranked among themselves.\n\n"
    rows = [[name, one["ndcg@10"], one["recall@300"]] for name, one in new["sources"].items()]
    return text + table(["source", "ndcg@10", "recall@300"], rows)


def _serving(part: Mapping[str, Any]) -> str:
    loads = {"bare echo": part["echo"], **{name: one["closed_loop"] for name, one in part["loads"].items()}}
    rows = []
    for name, own in loads.items():
        for load, one in own.items():
            ratio = part["to_echo"][name][load]["calls_per_s"] if name in part["to_echo"] else 1
            rows.append([name, load, one["calls_per_s"], ratio, one["p50_ms"], one["p99_ms"], one["failed"]])
    text = table(["load", "", "calls/s", "to echo", "p50 ms", "p99 ms", "failed"], rows)
    firsts = [
        [name, one["k"], ", ".join(one["sources"]), one["reply_bytes"], *_latencies(one["first_call_of_a_user"])]
        for name, one in part["loads"].items()
    ]
    head = ["load", "k", "sources that propose", "reply bytes", "first p50 ms", "first p99 ms"]
    return (
        f"GetCandidates, `by_column`, k = 300 unless it says otherwise. {part['trained']}\n\n{text}\n"
        f"The first call of each user, one at a time, reads the history and folds the user in:\n\n{table(head, firsts)}"
    )


def _writes(part: Mapping[str, Any]) -> str:
    rows = []
    for load, name in ((load, phase) for load in part["loads"] for phase in PHASES):
        own = part["loads"][load][name]
        written = ", ".join(f"{key} {value}" for key, value in own.get("written", {}).items())
        ratio = own["p99_to_quiet"]
        cores = ", ".join(f"{key} {value}" for key, value in own["cores"].items())
        rounds = ", ".join(map(str, own["p99_ms_of_rounds"]))
        rows.append(
            [
                load,
                name,
                own["calls"],
                own["calls_per_s"],
                *_latencies(own),
                rounds,
                ratio,
                own["failed"],
                cores,
                written,
            ]
        )
    text = f"Open loop at a third of capacity: {part['offered_per_s']} of {part['capacity_per_s']} calls/s.\n\n"
    head = ["", "", "calls", "calls/s", "p50 ms", "p99 ms", "p99 of each round", "p99 to quiet", "failed"]
    text += table([*head, "cores busy", "written, last round"], rows)
    phases = ("until_published", "while_loaded", "around_swap")
    swaps = [
        [name, part[name]["calls"], part[name]["failed"], part[name]["published_to_first_answer_s"]]
        + [cell for phase in phases for cell in _latencies(part[name][phase])]
        for name in ("swap_after_training", "swap_alone")
    ]
    head = ["swap", "calls", "failed", "published to answering s"]
    head += [f"{phase.replace('_', ' ')} {share} ms" for phase in phases for share in ("p50", "p99")]
    text += "\n" + table(head, swaps)
    two_way = part["two_way"]["rounds"]
    return text + "\nAn item deleted and one added while 1,000 calls run:\n\n" + _dicts(two_way)


def _scale(part: Mapping[str, Any]) -> str:
    text = f"Limit {part['limit_s']:g} s a kind. Memory: the peak while fitting, less the data.\n"
    for size in part["sizes"].values():
        of = ", ".join(f"{size[name]:,} {name}" for name in ("likes", "users", "items"))
        text += f"\n{size['events']:,} events drawn: {of}\n\n"
        rows = [
            [name, one.get("fit_s", _first_line(one)), *(one.get(key, "") for key in _MEMORY)]
            for name, one in size["kinds"].items()
        ]
        text += table(["kind", "fit s", "peak MB", "data MB", "model MB"], rows)
    rows = [[name, *(one.get(key, "") for key in ("fit_s", "peak_mb"))] for name, one in part["growth"].items()]
    return (
        text
        + "\nGrowth: the power of the number of likes, from each size to the next.\n\n"
        + table(["kind", "fit s", "peak MB"], rows)
    )


def _first_line(figures: Mapping[str, Any]) -> str:
    return str(figures.get("result", "")).partition("\n")[0]


def _index(part: Mapping[str, Any]) -> str:
    shares = list(part["flat"]["filters"])
    rows = []
    for kind, own in part.items():
        if isinstance(own, dict):
            cells = [own[name] for name in _INDEX]
            filters = [own["filters"][share] for share in shares]
            rows.append([kind, *cells, *(f"{one['p50_ms']} ms, {one['fewest']} of {one['asked']}" for one in filters)])
    head = ["type", *_INDEX, *(f"{float(share):.1%} allowed" for share in shares)]
    return f"{part['vectors']:,} vectors of {part['dim']}, k = {part['k']}, one thread.\n\n{table(head, rows)}"


def _overhead(part: Mapping[str, Any]) -> str:
    rows = []
    for name, own in {"bare echo": part["echo"], **part["calls"]}.items():
        for load, one in own.items():
            faiss, ratio = (part[key].get(name, {}).get(load, "") for key in ("searches_per_s_in_process", "to_faiss"))
            cells = [one["calls_per_s"], *_latencies(one), faiss, ratio, part["fewest_of_100"].get(name, "")]
            rows.append([name, load, *cells])
    text = table(["", "", "calls/s", "p50 ms", "p99 ms", "FAISS searches/s", "ratio", "fewest items of 100"], rows)
    names = ("resident_mb_at_start", "resident_mb", "of_it_anonymous_mb", "start_to_serving_s", "artifact_mb")
    facts = ", ".join(f"{name} {part[name]}" for name in (*names, "indexes_built_s"))
    return f"{part['items']:,} items of {part['dim']} numbers: {facts}.\n\n{_dicts(part['indexes'])}\n{text}"


def _dicts(rows: list[dict[str, Any]]) -> str:
    return table(rows[0], [one.values() for one in rows])


def _latencies(figures: Mapping[str, Any]) -> list[Any]:
    return [figures["p50_ms"], figures["p99_ms"]]


_MEMORY = ("peak_mb", "data_mb", "model_mb")
_INDEX = ("recall_at_100", "p50_ms", "flat_over_this", "build_s", "puts_per_s", "removes_per_s", "parameters")
_SECTIONS: dict[str, tuple[str, Callable[[Mapping[str, Any]], str]]] = {
    "quality": ("Quality on MovieLens", _quality),
    "serving": ("Serving against a bare echo, same run", _serving),
    "writes": ("Under writes, swaps, two-way writes", _writes),
    "index": ("Index of a million vectors", _index),
    "overhead": ("Service against FAISS in process, a million items", _overhead),
    "scale": ("Training at scale", _scale),
}
