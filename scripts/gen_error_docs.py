"""Writes docs/errors.md from the reasons in protos/ and the mapping in shared/rpc/status.py. --check: only compares."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from shared.errors import Reason
from shared.rpc.status import STATUS_OF_REASON

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "errors.md"
RETRY = {
    Reason.OVERLOADED: "after `RetryInfo.retry_delay`",
    Reason.DEPENDENCY_UNAVAILABLE: "with backoff",
    Reason.SHUTTING_DOWN: "at once",
    Reason.DEADLINE_EXCEEDED: "with more time",
    Reason.STALE_CURSOR: "from the start of the log",
}

HEAD = """# Errors

<!-- Written by scripts/gen_error_docs.py from protos/fusionrec/common/v1/error.proto. Do not edit. -->

Every call that a Fusionrec server refuses or fails carries, in the trailing metadata `grpc-status-details-bin`, a
`google.rpc.Status` with

- `google.rpc.ErrorInfo`, always: `domain` is `fusionrec`, `reason` is one of the names below, and `metadata` holds
  `request_id` and, for fields, `field`, `value` (cut to 64 characters), `limit` and `hint`;
- `google.rpc.BadRequest`, when a field of the request is wrong: its path (`events[3].user_id`) and what is wrong;
- `google.rpc.RetryInfo`, when the server knows when to come back.

Branch on `reason`, never on the text of a message: texts are for people and may change, reasons are contract.
Elements of a batch that are refused one by one (`WriteEvents`, `UpsertItems`, `Embed`) carry the same facts in a
`fusionrec.common.v1.FieldViolation`, and the call itself succeeds.

| reason | status | retry | what it means and what to do |
|---|---|---|---|
"""

TAIL = """
Failures below the servers carry no `ErrorInfo`: `UNAVAILABLE` (no connection), `DEADLINE_EXCEEDED` (the client's own
clock), `CANCELLED`, `UNIMPLEMENTED` (no such method in this release), `RESOURCE_EXHAUSTED` (a message over 16 MiB).

The channel helper (`fusionrec.channel`) retries `UNAVAILABLE` by itself: three attempts with backoff, throttled when a
server is down; never a write of events, which is for the caller to repeat.

## Reading it in Python

```python
import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

try:
    stub.Recommend(request, timeout=1)
except grpc.RpcError as error:
    for detail in rpc_status.from_call(error).details:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            print(info.reason, dict(info.metadata))
```
"""


def reasons() -> dict[str, str]:
    """Returns the comment of every reason in the contract, by name without prefix."""
    text = (ROOT / "protos/fusionrec/common/v1/error.proto").read_text()
    body = text[text.index("enum ErrorReason {") : text.index("message FieldViolation")]
    found = re.findall(r"((?:  //.*\n)+)  ERROR_REASON_(\w+) = \d+;", body)
    return {name: " ".join(re.findall(r"//\s*(.*)", comment)) for comment, name in found if name != "UNSPECIFIED"}


def render() -> str:
    """Returns the whole page."""
    rows = []
    for name, comment in reasons().items():
        reason = Reason[name]
        status, _, text = comment.partition(": ")
        if status != STATUS_OF_REASON[reason].name:
            raise SystemExit(f"{name}: the contract says {status}, the code {STATUS_OF_REASON[reason].name}")
        rows.append(f"| `{name}` | `{status}` | {RETRY.get(reason, 'no')} | {text[0].upper()}{text[1:]} |\n")
    return HEAD + "".join(rows) + TAIL


def main() -> None:
    """Writes or checks the page."""
    page = render()
    if sys.argv[1:] == ["--check"]:
        if TARGET.read_text() != page:
            raise SystemExit("docs/errors.md is stale: run scripts/gen_error_docs.py")
    else:
        TARGET.write_text(page)


if __name__ == "__main__":
    main()
