# Run one command as several local jobs and speak with one exit status.
# launch NAME LOG_DIR NUM_JOBS COMMAND... runs COMMAND --job i --num-jobs N for i in 1..N.
# Each log carries command, host, start, end and status; a failed job fails the call and its last lines
# are shown. Jobs see one GPU each, round robin over `gpus`; CPU jobs share the cores evenly.
# Example: gpus="0 1"; launch extract exp/log 4 python -m speakerlab.bin.extract_embeddings ...
# shellcheck shell=bash

# resolve_gpus LIST: LIST itself, or for "auto" what CUDA_VISIBLE_DEVICES allows, else all there are
resolve_gpus() {
  if [[ $1 != auto ]]; then
    echo "${1//,/ }"
  elif [[ -n ${CUDA_VISIBLE_DEVICES+set} ]]; then
    echo "${CUDA_VISIBLE_DEVICES//,/ }"
  elif command -v nvidia-smi >/dev/null; then
    nvidia-smi --query-gpu=index --format=csv,noheader 2>/dev/null | tr '\n' ' ' || true
  fi
}

# run_job LOG COMMAND...: run it, with the frame of facts around its output
run_job() {
  local log_file=$1 status=0
  shift
  {
    echo "# command: $*"
    echo "# host: $(hostname)  CUDA_VISIBLE_DEVICES='${CUDA_VISIBLE_DEVICES-}'  threads: $OMP_NUM_THREADS"
    echo "# started: $(date '+%Y-%m-%d %H:%M:%S')"
  } >"$log_file"
  "$@" >>"$log_file" 2>&1 </dev/null || status=$?
  echo "# ended: $(date '+%Y-%m-%d %H:%M:%S')  status: $status" >>"$log_file"
  return "$status"
}

# show_progress LOG: repeat what job 1 says about its progress
show_progress() {
  local line last=""
  while sleep 2; do
    line=$(grep ' left$' "$1" 2>/dev/null | tail -n 1 || true)
    [[ $line == "$last" ]] || echo "$line" >&2
    last=$line
  done
}

describe_status() {
  if (($1 > 128)); then
    echo "was killed by signal $(($1 - 128)) ($(kill -l $(($1 - 128))))$([[ $1 != 137 ]] || echo '; out of memory?')"
  else
    echo "exited with status $1"
  fi
}

stop_jobs() {
  local pid
  for pid in "$@"; do kill -TERM -- "-$pid" 2>/dev/null || true; done
}

launch() {
  local name=$1 log_dir=$2 num_jobs=$3 job status failed=0 watcher
  shift 3
  [[ $num_jobs =~ ^[1-9][0-9]*$ ]] || usage_error "--nj must be a positive number, not '$num_jobs'"
  mkdir -p "$log_dir"
  local -a pids=() gpu_list
  read -r -a gpu_list <<<"$(resolve_gpus "${gpus-auto}")"
  local threads=$(($(nproc) / num_jobs))
  set -m # a process group for each job, so that an interrupted step can stop all of it
  for ((job = 1; job <= num_jobs; job++)); do
    (
      export OMP_NUM_THREADS=$((threads > 0 ? threads : 1)) CUDA_VISIBLE_DEVICES=
      ((${#gpu_list[@]} == 0)) || CUDA_VISIBLE_DEVICES=${gpu_list[(job - 1) % ${#gpu_list[@]}]}
      run_job "$log_dir/$name.$job.log" "$@" --job "$job" --num-jobs "$num_jobs"
    ) &
    pids+=($!)
  done
  show_progress "$log_dir/$name.1.log" &
  watcher=$!
  set +m
  trap 'stop_jobs "${pids[@]}" "$watcher"; die "interrupted; run the same command again to go on"' INT TERM
  for ((job = 1; job <= num_jobs; job++)); do
    status=0
    wait "${pids[job - 1]}" || status=$?
    if ((status)) && ((!failed)); then
      echo "$program: job $job of $num_jobs $(describe_status "$status"); last lines of $log_dir/$name.$job.log:" >&2
      grep -v '^#' "$log_dir/$name.$job.log" | tail -n 5 | sed 's/^/  /' >&2
      failed=1
    fi
  done
  stop_jobs "$watcher"
  wait "$watcher" 2>/dev/null || true
  trap - INT TERM
  return "$failed"
}
