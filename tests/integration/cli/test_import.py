"""`fusionrec import` against the real ingestion service: nothing lost, nothing twice, every rejected row told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pandas as pd
import pytest
from fusionrec.channel import connect
from fusionrec.ingestion.v1 import ingestion_service_pb2 as pb
from fusionrec.ingestion.v1.ingestion_service_pb2_grpc import IngestionServiceStub

from shared.cli.addresses import Addresses
from shared.cli.main import main
from shared.cli.processes import free_port_base
from shared.cli.workspace import ROOT
from shared.testing.processes import ServiceProcess

ROWS = 30_000


@pytest.fixture
def ingestion(tmp_path):
    """A running ingestion service on the first port of a free block."""
    port = free_port_base(Addresses())
    with ServiceProcess(
        "ingestion", {"INGESTION_STORE": f"sqlite:///{tmp_path}/store/events.db"}, port=port
    ) as process:
        process.wait_ready()
        yield process


@pytest.fixture
def stub(ingestion):
    with connect(ingestion.address) as channel:
        yield IngestionServiceStub(channel)


@pytest.fixture
def command(ingestion, tmp_path):
    """Returns the command line of an import, with this service and a data directory of its own."""

    def line(*arguments):
        common = ["--port-base", str(ingestion.port), "--data-dir", str(tmp_path / "data")]
        return ["import", *map(str, arguments), *common]

    return line


def write(path, content):
    path.write_text(content)
    return path


def many_events(path):
    frame = pd.DataFrame(
        {
            "user_id": [f"u{n % 500}" for n in range(ROWS)],
            "item_id": [f"i{n % 3000}" for n in range(ROWS)],
            "type": "view",
            "timestamp": [1_577_836_800 + n for n in range(ROWS)],
        }
    )
    frame.loc[[99, ROWS - 100], "type"] = "no such type"
    frame.to_csv(path, index=False)
    return path


def test_every_row_is_accounted_for(command, stub, tmp_path, capsys):
    file = write(
        tmp_path / "e.csv",
        "user_id,item_id,type,value,timestamp,text\n"
        "u1,i1,rating,4.5,2020-01-01,\n"
        'u2,i2,review,5,1577836800,"two\nlines"\n'
        "u3,i3,rating,nan,1577836800000,\n"
        ",i4,view,,2020-01-01,\n"
        "u5,i5,frob,,2020-01-01,\n"
        "u6,i6,view,,1577836800000000,\n"
        "u1,i1,rating,4.5,2020-01-01,\n"
        "u7,i7,play,0.5\n",
    )
    rejects = tmp_path / "rejects.jsonl"
    assert main(command("events", file, "--rejects", rejects)) == 3
    said = capsys.readouterr().err
    assert "8 rows = 2 accepted + 1 duplicate + 5 rejected" in said
    assert "2 events name items that are not in the catalogue" in said
    assert "e.csv, line 5: value = 'nan' breaks the limit" in said
    assert "e.csv, line 6: user_id = '' breaks the limit 1..256 bytes" in said
    assert "e.csv, line 7: type = 'frob' is not an event type" in said
    assert "e.csv, line 8: timestamp = " in said
    kept = [json.loads(line) for line in rejects.read_text().splitlines()]
    assert [reject["line"] for reject in kept] == [5, 6, 7, 8, 10]
    assert kept[2]["row"]["type"] == "frob"
    stats = stub.GetStats(pb.GetStatsRequest())
    assert (stats.events, stats.users) == (2, 2)


def test_a_file_with_no_bad_row_is_exit_code_0_and_twice_stores_once(command, stub, tmp_path, capsys):
    file = write(tmp_path / "e.csv", "user_id,item_id,type\nu1,i1,click\nu1,i1,click\n")
    assert main(command("events", file)) == 0
    assert main(command("events", file)) == 0
    said = capsys.readouterr().err
    assert "2 rows = 2 accepted + 0 duplicate + 0 rejected" in said
    assert "2 rows = 0 accepted + 2 duplicate + 0 rejected" in said
    assert stub.GetStats(pb.GetStatsRequest()).events == 2


def test_the_same_events_in_another_format_are_duplicates(command, stub, tmp_path):
    file = tmp_path / "e.csv"
    frame = pd.DataFrame({"user_id": [1, 2], "item_id": [3, 4], "type": "rating", "value": [4, 3.5]})
    frame["timestamp"] = pd.to_datetime(["2020-01-01T10:00:00.5", "2020-01-02T11:30:00.25"], format="ISO8601")
    frame.to_csv(file, index=False)
    frame.to_parquet(tmp_path / "e.parquet")
    frame.to_json(tmp_path / "e.jsonl", orient="records", lines=True, date_format="iso")
    for name in ("e.csv", "e.parquet", "e.jsonl"):
        assert main(command("events", tmp_path / name)) == 0
    assert stub.GetStats(pb.GetStatsRequest()).events == 2


def test_only_the_first_rejected_rows_are_shown_and_all_counted(command, tmp_path, capsys):
    file = write(tmp_path / "e.jsonl", "".join(f'{{"user_id": "u{n}"}}\n' for n in range(2500)))
    assert main(command("events", file, "--type", "view", "--rejects", tmp_path / "r.jsonl")) == 3
    said = capsys.readouterr().err
    assert said.count("e.jsonl, line ") == 20
    assert "2,500 rows = 0 accepted + 0 duplicate + 2,500 rejected" in said
    assert len((tmp_path / "r.jsonl").read_text().splitlines()) == 2500


def test_items_with_attributes_and_the_last_of_a_kind_wins(command, stub, tmp_path):
    rows = "".join(f"i{n % 1500},version {n},A|B,{1900 + n % 100}\n" for n in range(3000))
    file = write(tmp_path / "films.csv", "film,title,categories,year\n" + rows)
    assert main(command("items", file, "--map", "item_id=film")) == 0
    answer = stub.GetItems(pb.GetItemsRequest(item_ids=["i0", "i1499"]))
    assert [item.title for item in answer.items] == ["version 1500", "version 2999"]
    assert list(answer.items[0].categories) == ["A", "B"]
    assert answer.items[0].attributes["year"].number_value == 1900
    assert stub.GetStats(pb.GetStatsRequest()).items == 1500


def test_texts_at_the_limit_fit_into_messages(command, stub, tmp_path):
    text = "x" * 65_536
    file = write(
        tmp_path / "i.jsonl", "".join(json.dumps({"item_id": f"i{n}", "text": text}) + "\n" for n in range(300))
    )
    assert main(command("items", file)) == 0
    assert stub.GetStats(pb.GetStatsRequest()).items == 300


def test_an_import_killed_in_the_middle_goes_on_and_counts_every_row_once(command, stub, tmp_path, capsys):
    file, rejects = many_events(tmp_path / "many.csv"), tmp_path / "rejects.jsonl"
    line = command("events", file, "--rejects", rejects)
    _kill_in_the_middle(line, tmp_path / "data" / "run")
    before = stub.GetStats(pb.GetStatsRequest()).events
    assert 0 < before < ROWS - 2

    assert main(line) == 3
    said = capsys.readouterr().err
    assert "interrupted: going on after row" in said
    numbers = next(line for line in said.splitlines() if line.startswith(f"events: {ROWS:,} rows"))
    accepted, duplicate, rejected = (
        int(part.split()[0].replace(",", "")) for part in numbers.split("= ")[1].split("+")
    )
    assert accepted + duplicate + rejected == ROWS
    assert rejected == 2
    assert stub.GetStats(pb.GetStatsRequest()).events == ROWS - 2
    assert [json.loads(one)["line"] for one in rejects.read_text().splitlines()] == [101, ROWS - 98]
    assert not list((tmp_path / "data" / "run").glob("import-*"))


def test_a_checkpoint_of_another_log_is_not_followed(command, ingestion, stub, tmp_path, capsys):
    file = many_events(tmp_path / "many.csv")
    line = command("events", file)
    _kill_in_the_middle(line, tmp_path / "data" / "run")
    ingestion.terminate()
    for path in (tmp_path / "store").iterdir():
        path.unlink()
    ingestion.start()
    ingestion.wait_ready()

    assert main(line) == 3
    assert "starting from the first row" in capsys.readouterr().err
    assert stub.GetStats(pb.GetStatsRequest()).events == ROWS - 2


def test_an_import_survives_a_restart_of_ingestion(command, ingestion, stub, tmp_path):
    file = many_events(tmp_path / "many.csv")
    with _started(command("events", file)) as process:
        _wait_for_rows(tmp_path / "data" / "run", process)
        ingestion.kill9()
        ingestion.start()
        assert process.wait(60) == 3
    assert stub.GetStats(pb.GetStatsRequest()).events == ROWS - 2


def _started(line):
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "client", ROOT / "shared" / "gen")))}
    return subprocess.Popen([sys.executable, "-m", "shared.cli", *line], env=env, stderr=subprocess.DEVNULL)


def _kill_in_the_middle(line, run):
    with _started(line) as process:
        _wait_for_rows(run, process)
        process.kill()


def _wait_for_rows(run, process):
    """Waits until the import has noted rows as stored."""
    until = time.monotonic() + 30
    while not any(run.glob("import-*.json")):
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.002)
