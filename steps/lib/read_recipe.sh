# Settings of the driver that stand in files: conf/jobs.conf for every recipe, corpus.conf and recipe.conf for one.
# read_recipe ARGUMENTS... finds the recipe (--recipe, or the folder of the link that was called) and reads them;
# the command line is parsed afterwards and wins. Sets `recipe`, and `config` and `exp` to the recipe's own.
# shellcheck shell=bash

read_recipe() {
  local previous="" argument file
  # shellcheck disable=SC2154  # link_dir is the driver's
  [[ $link_dir == "$PWD" ]] || recipe=${link_dir#"$PWD"/}
  for argument in "$@"; do # which recipe must be known before the other options are read
    [[ $previous != --recipe ]] || recipe=$argument
    previous=$argument
  done
  [[ ! -f conf/jobs.conf ]] || read_settings conf/jobs.conf
  [[ -n $recipe ]] || return 0
  # shellcheck disable=SC2034  # the driver's
  config=$recipe/config.yaml exp=$recipe/exp
  require_file "$config" "--recipe is a folder such as egs/mini_librispeech/campplus"
  for file in "$(dirname "$recipe")/corpus.conf" "$recipe/recipe.conf"; do
    [[ ! -f $file ]] || read_settings "$file"
  done
}
