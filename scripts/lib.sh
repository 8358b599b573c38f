# Shared by the scripts in this folder: sourced, not run.
# shellcheck shell=bash

# The repository, this script, and where cargo builds.
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
script=$repository/scripts/${0##*/}
target=$(realpath -m "${CARGO_TARGET_DIR:-$repository/target}")

# Administrators' tools are in folders that not everybody has in PATH.
PATH=$PATH:/usr/sbin:/sbin

# One sentence on standard error, then the end.
fail() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# Like fail, for a command line that makes no sense.
usage_error() {
    printf '%s: %s; see %s --help\n' "${0##*/}" "$*" "$0" >&2
    exit 2
}

# The comment at the top of the calling script is its help.
show_help() {
    sed -n '2,/^[^#]/ s/^# \{0,1\}//p' "$script"
}

# Runs a command as root.
as_root() {
    if ((EUID == 0)); then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo -- "$@"
    else
        fail "needs root for '$1', and there is no sudo: run $script as root"
    fi
}

# Who runs this: under sudo the person who typed it, so that nothing in the target directory ends
# up owned by root.
invoking_user() {
    if ((EUID == 0)); then
        printf '%s' "${SUDO_USER:-root}"
    else
        id -un
    fi
}

# Runs a command as the invoking user.
as_user() {
    local user
    user=$(invoking_user)
    if [[ $user == "$(id -un)" ]]; then
        "$@"
    else
        sudo -E -u "$user" -H -- env PATH="$PATH" "$@"
    fi
}

# Runs cargo as the invoking user, with rustup's usual place in PATH (sudo takes it out).
user_cargo() {
    local home
    home=$(getent passwd "$(invoking_user)" | cut -d: -f6)
    local -x PATH="$home/.cargo/bin:$PATH" CARGO_TARGET_DIR="$target"
    as_user cargo "$@"
}

# Stops with the one command that helps unless cargo is there and new enough.
need_cargo() {
    local install="curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh" wanted found
    command -v curl >/dev/null || install="apt-get install --yes curl ca-certificates && $install"
    wanted=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' "$repository/Cargo.toml")
    found=$(user_cargo --version 2>/dev/null) || fail "cargo is missing; install it with: $install"
    found=${found#cargo }
    found=${found%%[ -]*}
    if [[ $(printf '%s\n' "$wanted" "$found" | sort -V | sed -n 1p) == "$wanted" ]]; then
        return
    fi
    command -v rustup >/dev/null && install="rustup update stable"
    fail "cargo $found is too old, $wanted is needed; update it with: $install"
}
