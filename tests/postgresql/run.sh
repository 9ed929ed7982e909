#!/usr/bin/env bash
# Run the tests of the voiceprint store on PostgreSQL: a server of their own, in a folder that goes away afterwards.
# Two servers of voiceprints use it behind nginx as well. What is not found is installed from Debian's packages,
# which needs root; without PostgreSQL and nginx this fails.
# Usage: tests/postgresql/run.sh [pytest arguments]
# Example: tests/postgresql/run.sh -k killed
cd "$(dirname "$(realpath "$0")")/../.." || exit 1
. steps/lib/strict.sh
if [[ ${1:-} == --help ]]; then
  sed -n '2,6s/^# //p' "$0"
  exit 0
fi
REQUIREMENTS="core plot demo onnx serve test"
. path.sh
. steps/lib/install_pinned.sh
install_pinned .peers-postgresql requirements/postgresql_test.txt
export PYTHONPATH=$PYTHONPATH:$PWD/.peers-postgresql:$PWD/tests/unit

for program in nginx openssl; do
  command -v "$program" >/dev/null && continue
  log "installing $program"
  { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "$program"; } >&2 ||
    die "$program could not be installed"
done

pg_ctl_path() {
  command -v pg_ctl || find /usr/lib/postgresql -name pg_ctl -path '*/bin/*' 2>/dev/null | sort -V | tail -n 1 | grep .
}

pg_ctl=$(pg_ctl_path) || {
  log "installing PostgreSQL"
  { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends postgresql; } >&2 ||
    die "PostgreSQL could not be installed"
  pg_ctl=$(pg_ctl_path) || die "PostgreSQL is installed, and pg_ctl is not found"
}
pg_ctl=$(realpath "$pg_ctl")

# PostgreSQL refuses to run as root: then as the user that its package makes, else nobody
user=$(id -un)
as_user=()
if [[ $user == root ]]; then
  user=postgres
  id postgres >/dev/null 2>&1 || user=nobody
  as_user=(setpriv "--reuid=$user" "--regid=$(id -gn "$user")" --init-groups)
fi
folder=$(mktemp -d)
stop() {
  "${as_user[@]}" "$pg_ctl" --pgdata "$folder/data" --mode immediate stop >/dev/null 2>&1
  rm -rf "$folder"
}
trap stop EXIT
chown "$user" "$folder"
(
  cd "$folder"
  "${as_user[@]}" "$(dirname "$pg_ctl")/initdb" --pgdata data --username tester --auth trust --encoding UTF8 \
    --locale C.UTF-8 >/dev/null
  # a socket only: nothing listens on the network
  "${as_user[@]}" "$pg_ctl" --pgdata data --log data/server.log --wait \
    --options "-c listen_addresses='' -c unix_socket_directories='$folder'" start >/dev/null
) || die "PostgreSQL did not start: $(tail -n 5 "$folder/data/server.log")"
export SPEAKERLAB_TEST_POSTGRESQL=postgresql://tester@${folder//\//%2F}
# one thread per process: the cores are shared out by processes; nproc would count threads of an exported variable
num_jobs=$(nproc)
export OMP_NUM_THREADS=1
killing=tests/postgresql/test_server_killed.py # cuts the connections of all other tests, and so runs after them
python -m pytest --numprocesses "$num_jobs" --ignore "$killing" tests/postgresql tests/unit/test_voiceprint_*.py \
  tests/property/test_voiceprint_properties.py "$@"
(($#)) || python -m pytest "$killing"
