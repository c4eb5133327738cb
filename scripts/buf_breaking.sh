#!/usr/bin/env bash
# Compares the contracts with those of the last release: FILE breaking rules of buf.
# The last tag is the yardstick; without one, main, unless this is main.
set -euo pipefail
cd "$(dirname "$0")/.."
buf=${BUF:-.venv/bin/buf}

skip() { echo "no breaking check: $1"; exit 0; }

git rev-parse --git-dir >/dev/null 2>&1 || skip "this is not a git checkout"
base=$(git describe --tags --abbrev=0 2>/dev/null || true)
if [ -z "$base" ]; then
  for branch in main origin/main; do
    git rev-parse --verify --quiet "$branch^{commit}" >/dev/null || continue
    [ "$(git rev-parse "$branch^{commit}")" = "$(git rev-parse HEAD)" ] && git diff --quiet HEAD -- protos && continue
    base=$branch
    break
  done
fi
[ -n "$base" ] || skip "there is no tag, and no main that differs from what is checked out"
git cat-file -e "$base:protos" 2>/dev/null || skip "$base has no protos"

before=$(mktemp -d)
trap 'rm -rf "$before"' EXIT
git archive "$base" protos buf.yaml | tar -x -C "$before"
"$buf" breaking --against "$before"
echo "the contracts break nothing of $base"
