#!/usr/bin/env bash
# pip download --python-version resolves the dependencies of the Python that runs it.
# Guess: pip download --python-version 3.10 fetches what the package needs on Python 3.10.
# What happens: wheels are chosen for 3.10, but every environment marker, in the requirement and in each package's
# metadata, is evaluated for the running interpreter: what is needed on older Pythons only is missing from the folder,
# and the exit status is 0. uv pip compile --python-version has the right list.
# What follows: a wheelhouse or a resolution for another Python is checked with uv, or made by that Python; success
# of pip proves nothing about markers.
# Seen with: pip 26.3, uv 0.13.9, run by Python 3.11 (needs 3.11 or newer).
# Usage: bash findings/pip_markers_of_another_python.sh
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet pip==26.3 uv==0.13.9
cd "$work"
venv/bin/pip --version | cut -d ' ' -f 1,2
venv/bin/uv --version
requirement=pytest==8.4.2  # its metadata: exceptiongroup and tomli where python_version < "3.11"
venv/bin/pip download --quiet --only-binary=:all: --python-version 3.10 --dest wheels "$requirement"
by_pip=$(for wheel in wheels/*; do basename "${wheel%%-*}"; done | sort | xargs)
echo "pip download --python-version 3.10 $requirement exits 0 and fetches: $by_pip"
echo "$requirement" >requirements.in
by_uv=$(venv/bin/uv pip compile --quiet --no-header --no-annotate --python-version 3.10 requirements.in | cut -d= -f1 | xargs)
echo "uv pip compile --python-version 3.10 lists: $by_uv"
venv/bin/pip download --quiet --only-binary=:all: --no-deps --python-version 3.10 --dest ignored \
  'six==1.17.0; python_version < "3.11"' 2>&1 | { grep -v WARNING || true; }
ignored=$(find ignored -name '*.whl' 2>/dev/null | wc -l)
echo "the requirement six; python_version < \"3.11\", asked for 3.10: exits 0 and fetches $ignored files"
case $by_pip in *exceptiongroup* | *tomli*) echo "this has changed" >&2 && exit 1 ;; esac
case $by_uv in *exceptiongroup*tomli*) ;; *) echo "this has changed" >&2 && exit 1 ;; esac
((ignored == 0)) || { echo "this has changed" >&2 && exit 1; }
