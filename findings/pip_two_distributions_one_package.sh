#!/usr/bin/env bash
# pip installs one distribution over the files of another, and removing it breaks the first.
# Guess: pip refuses a wheel whose files belong to another installed distribution, as system package managers do; or
# warns.
# What happens: it overwrites them without a word. Uninstalling the second removes the shared files too: the first
# is still listed, pip check finds no fault, and its package is an empty shell.
# What follows: a package whose import name is taken by another distribution must look for a foreign copy at start,
# and say so itself.
# Seen with: pip 26.3, Python 3.11.
# Usage: bash findings/pip_two_distributions_one_package.sh
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet pip==26.3 setuptools==80.9.0
cd "$work"
venv/bin/pip --version | cut -d ' ' -f 1,2
for name in one two; do
  mkdir -p "$name/shared_package"
  echo "owner = '$name'" >"$name/shared_package/__init__.py"
  cat >"$name/pyproject.toml" <<END
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "distribution-$name"
version = "1.0"
[tool.setuptools]
packages = ["shared_package"]
END
  venv/bin/pip install --quiet --no-build-isolation --no-deps "./$name" 2>&1 | tee "$name.log"
done
owner() { (cd / && "$work/venv/bin/python" -c "import shared_package; print(getattr(shared_package, 'owner', 'nobody'))"); }
both=$(owner)
echo "after installing one, then two: the package is of '$both'; pip printed $(wc -c <two.log) bytes"
venv/bin/pip uninstall --quiet --yes distribution-two
after=$(owner 2>/dev/null || echo "nobody: it cannot be imported")
listed=$(venv/bin/pip list 2>/dev/null | grep -c distribution-one || true)
checked=$(venv/bin/pip check)
echo "after uninstalling two: the package is of '$after'; distribution-one is listed $listed time; pip check: $checked"
[[ $both == two && ! -s two.log && $after == nobody* && $listed == 1 && $checked == "No broken"* ]] \
  || { echo "this has changed" >&2 && exit 1; }
