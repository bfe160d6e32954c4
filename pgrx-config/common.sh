# shellcheck shell=bash disable=SC2034
# Sourced by the scripts of this folder: where things lie, and who runs servers.

# Servers' files have to be readable for the server's user, whatever the caller's umask.
umask 022

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)

# PostgreSQL refuses to run as root: then its servers run as this user.
if [ "$(id -u)" = 0 ]; then server_user=postgres; else server_user=$(id -un); fi

as_server_user() {
    if [ "$(id -u)" = 0 ]; then runuser -u "$server_user" -- "$@"; else "$@"; fi
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# The real path of the build folder (it may be a link, see the script build-folder).
build_folder() {
    readlink -f "$repository/build"
}

die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}
