# The one shape of a step whose workers write parts: launch, merge, verify, one success line.
# run_parallel_step MODULE NAME DATA_DIR OUT_DIR [worker options...] publishes OUT_DIR/NAME.scp.
# Uses the options nj, max_fail_rate, overwrite of the calling step.
# shellcheck shell=bash

run_parallel_step() {
  local module=$1 name=$2 data_dir=$3 out_dir=$4 start=$SECONDS
  shift 4
  require_dir "$data_dir"
  require_file "$data_dir/wav.scp" "not a Kaldi data dir"
  if [[ $overwrite == true ]]; then
    rm -rf "${out_dir:?}/parts" "$out_dir/$name.scp"
  fi
  launch "$module" "$out_dir/log" "$nj" python -m "speakerlab.bin.$module" "$@" "$data_dir" "$out_dir" ||
    die "not finished; mend the cause and run the same command again, only what is missing will be done"
  local summary
  summary=$(python -m speakerlab.bin.merge_parts --name "$name" --keys-from "$data_dir" \
    --max-fail-rate "$max_fail_rate" "$out_dir" 2>"$out_dir/log/merge.log") ||
    die "$(grep -v ' INFO ' "$out_dir/log/merge.log")"
  log "$summary, $nj jobs, $((SECONDS - start)) s"
}
