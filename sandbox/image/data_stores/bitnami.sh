# The functions of Bitnami's shell libraries that the start scripts of the real Redis chart call. They source them as
# liblog.sh, libos.sh, libvalidations.sh, libfile.sh and libnet.sh; all five names are this file.
info() { printf '%s INFO %s\n' "$(date +%T)" "$*" >&2; }
warn() { printf '%s WARN %s\n' "$(date +%T)" "$*" >&2; }
error() { printf '%s ERROR %s\n' "$(date +%T)" "$*" >&2; }
debug() { :; }
is_boolean_yes() { [[ ${1:-} == 1 || ${1,,} =~ ^(yes|true)$ ]]; }
retry_while() {
  local attempts=${2:-12} pause=${3:-5}
  while ((attempts-- > 0)); do
    $1 && return 0
    sleep "$pause"
  done
  return 1
}
replace_in_file() {
  local file=$1 pattern=$2 replacement=$3 edge=$'\001' changed
  changed=$(sed -E "s$edge$pattern$edge$replacement${edge}g" "$file")
  printf '%s\n' "$changed" > "$file"
}
