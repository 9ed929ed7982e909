# Options of a script are its own variables: every line `name=default  # help` between the lines that
# source strict.sh and this file becomes `--name value` (dashes and underscores are the same). A name that is not
# declared, or one without a value, is an error. What is left over is in the array `arguments`.
# Example: stage=0  # first stage to run
#          . steps/lib/parse_options.sh
# shellcheck shell=bash

declared_options() {
  sed -n '/lib\/strict\.sh/,/lib\/parse_options\.sh/{/^[a-z][a-z0-9_]*=/p}' "$script_file"
}

print_help() {
  sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p}' "$script_file"
  printf '\nOptions (with defaults):\n'
  declared_options | sed -E 's/^([a-z0-9_]+)=("[^"]*"|[^ ]*) *(# *(.*))?$/\1\t\2\t\4/' |
    while IFS=$'\t' read -r name default help; do
      default=${default//\"/}
      [[ -z $default || $help == *default:* ]] || help+=" (default: $default)"
      printf '  --%-18s %s\n' "${name//_/-}" "$help"
    done
}

# set_option NAME VALUE ORIGIN: assign a declared variable, or say which name or value was wrong
set_option() {
  local name=${1//-/_} declared
  declared=$(declared_options | grep "^$name=") || usage_error "$3: unknown option '$1'"
  if [[ $declared =~ ^$name=(true|false)(\ |$) && ! $2 =~ ^(true|false)$ ]]; then
    usage_error "$3: $1 is true or false, not '$2'"
  fi
  printf -v "$name" '%s' "$2"
}

# read_settings FILE: lines `name=value` of declared names; blank lines and # comments are skipped
read_settings() {
  local line number=0
  while IFS= read -r line || [[ -n $line ]]; do
    number=$((number + 1))
    line=${line%%#*}
    line=${line%"${line##*[![:space:]]}"}
    [[ -n $line ]] || continue
    [[ $line == *=* ]] || die "$1:$number: write name=value"
    local value=${line#*=}
    value=${value#\"} value=${value%\"}
    set_option "${line%%=*}" "$value" "$1:$number"
  done <"$1"
}

arguments=()
parse_options() {
  while (($#)); do
    case $1 in
      --help | -h)
        print_help
        exit 0
        ;;
      --*=*) local option=${1%%=*} && set_option "${option#--}" "${1#*=}" "command line" && shift ;;
      --*)
        (($# >= 2)) || usage_error "$1 needs a value"
        # a forgotten value would swallow the next option
        [[ $2 != --* ]] || usage_error "$1 needs a value, not $2"
        set_option "${1#--}" "$2" "command line"
        shift 2
        ;;
      *) arguments+=("$1") && shift ;;
    esac
  done
}
