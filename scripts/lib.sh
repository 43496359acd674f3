# shellcheck shell=bash
# What the scripts share. Sourced, never run.

# Prints to stderr: stdout belongs to what a script was asked for.
say() { printf '%s\n' "$*" >&2; }

die() {
  say "error: $*"
  exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

is_root() { [ "$(id -u)" -eq 0 ]; }

# Asks for the password once, and says what for. Silent where none is needed.
ask_for_root() {
  is_root && return 0
  have sudo || die "$1 needs root, and sudo is not installed: run it as root"
  if ! sudo -n true 2>/dev/null; then
    [ -t 0 ] || die "$1 needs root, and there is no terminal to ask for the password: run it as root"
    say "$1 needs root: $2"
    sudo -v -p "[sudo] password for %u, asked once: " || die "no root, no $1"
  fi
}

# Runs a command as root with the caller's environment. sudo would take its own PATH, where rustup and node may not be.
as_root() {
  if is_root; then "$@"; else sudo -E env "PATH=$PATH" "$@"; fi
}

# Keeps what ask_for_root was told alive while something long runs: builds outlive sudo's memory of the password.
keep_root() {
  is_root && return 0
  (
    trap 'kill "$!" 2>/dev/null; exit' TERM
    while kill -0 $$ 2>/dev/null && sudo -n -v 2>/dev/null; do
      sleep 60 &
      wait "$!"
    done
  ) &
  keeper=$!
  trap let_root_go EXIT
}

# Before something takes this process over.
let_root_go() {
  [ -z "${keeper:-}" ] || kill "$keeper" 2>/dev/null || true
  keeper=
}
