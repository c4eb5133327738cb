#!/usr/bin/env bash
# Compares the contracts with those of the last release: FILE breaking rules of buf.
# The last tag is the yardstick; without one, main; on main itself, the newest earlier commit that has contracts.
set -euo pipefail
cd "$(dirname "$0")/.."
buf=${BUF:-.venv/bin/buf}

has_protos() { git cat-file -e "$1:protos" 2>/dev/null; }

# Prints the first commit of a name that has contracts and is not what is checked out.
yardstick() {
  local name
  for name in "$(git describe --tags --abbrev=0 2>/dev/null || true)" main origin/main; do
    [ -n "$name" ] && git rev-parse --verify --quiet "$name^{commit}" >/dev/null || continue
    [ "$(git rev-parse "$name^{commit}")" = "$(git rev-parse HEAD)" ] && git diff --quiet HEAD -- protos && continue
    has_protos "$name" && echo "$name" && return
  done
  for name in $(git rev-list HEAD~1 2>/dev/null); do
    has_protos "$name" && git rev-parse --short "$name" && return
  done
  return 0
}

if ! git rev-parse --git-dir >/dev/null 2>&1; then
  echo "SKIPPED: this is not a git checkout, there is nothing to compare with" >&2
  exit 0
fi
base=$(yardstick)
if [ -z "$base" ]; then
  if [ "$(git rev-parse --is-shallow-repository)" = true ]; then
    echo "SKIPPED: the history is cut off, there is nothing to compare with: fetch it whole (fetch-depth: 0)" >&2
    exit 0
  fi
  echo "these are the first contracts of this repository: there is nothing to break"
  exit 0
fi

before=$(mktemp -d)
trap 'rm -rf "$before"' EXIT
git archive "$base" protos buf.yaml | tar -x -C "$before"
"$buf" breaking --against "$before"
echo "the contracts break nothing of $base"
