#!/usr/bin/env bash
# Sets up .venv-peers (scvi-tools, Tangram, SpaGE) at the checkout's root from the lock beside this file.
# Refresh the lock: uv pip compile --python-version 3.11 requirements.in -o requirements.lock
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../../.." && pwd)
env="$root/.venv-peers"

if command -v uv >/dev/null; then
    [ -x "$env/bin/python" ] || uv venv -q --python 3.11 "$env"
    uv pip sync -q --python "$env/bin/python" "$here/requirements.lock"
else
    [ -x "$env/bin/python" ] || python3.11 -m venv "$env"
    "$env/bin/pip" install -q -r "$here/requirements.lock"
fi
"$env/bin/python" -c 'from importlib.metadata import version as v
for p in ("scvi-tools", "tangram-sc", "torch", "anndata"): print(p, v(p))'
