# Sourced by every script: a virtual environment in the tree, made on first use and renewed when pyproject.toml changes.
# NNAPI_TOOLKIT_VENV names another place for it; PYTHON another interpreter (3.11 or newer).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
VENV="${NNAPI_TOOLKIT_VENV:-.venv}"

find_python() {
  local candidate
  for candidate in "${PYTHON:-}" python3.11 python3.12 python3.13 python3; do
    [ -n "$candidate" ] || continue
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  echo "scripts: no Python 3.11 or newer found: install one, or name it with PYTHON=..." >&2
  return 1
}

# use_venv EXTRA: activates the environment with `nnapi-toolkit[EXTRA]` installed from this tree.
use_venv() {
  local extra="$1" python stamp want
  if [ ! -x "$VENV/bin/python" ]; then
    python="$(find_python)"
    echo "scripts: making $VENV with $python" >&2
    "$python" -m venv "$VENV"
  fi
  # shellcheck disable=SC1091
  . "$VENV/bin/activate"
  stamp="$VENV/.installed-$extra"
  want="$(sha256sum pyproject.toml | cut -d' ' -f1) $PWD"
  if [ "$(cat "$stamp" 2>/dev/null)" != "$want" ]; then
    echo "scripts: installing nnapi-toolkit[$extra] and what it needs" >&2
    python -m pip install --quiet --disable-pip-version-check -e ".[$extra]"
    echo "$want" > "$stamp"
  fi
}
