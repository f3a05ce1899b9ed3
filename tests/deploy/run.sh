#!/usr/bin/env bash
# Checks deploy/ against the built server, and the image by building and running it: run.sh [BINARY]
#
# Installs what it needs: Debian's packages as root, the rest beside this file. A step whose tools cannot be had is
# skipped, and named; with CI=true that is a failure. An image takes a static binary: BINARY if it is one, else
# STATIC_BINARY, else cargo builds one, of the profile that is shipped.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
BINARY=$(realpath "${1:-$root/target/debug/tokenecho}")
[[ -x $BINARY ]] || { echo "run.sh: there is no server at $BINARY; build it, or name another" >&2; exit 2; }
export BINARY

has() { command -v "$1" >/dev/null; }
is_root() { [[ $(id -u) == 0 ]]; }
log=$(mktemp)
trap 'rm "$log"' EXIT
# Prints what a command says only if it fails; a failure is told by the tests that miss the tool.
quietly() { "$@" >"$log" 2>&1 || { cat "$log" >&2; return 1; }; }

# kubectl, which renders, is in no registry that this script could ask: it has to be there.
install_tools() {
    local packages=() tool
    local tools=(buildah catatonit curl ip:iproute2 musl-gcc:musl-tools node:nodejs npm podman readelf:binutils runc)
    # Each is a command, and the package that brings it if that has another name.
    for tool in "${tools[@]}"; do
        has "${tool%:*}" || packages+=("${tool#*:}")
    done
    export PATH="$here/.tools:$PATH"
    [[ ${#packages[@]} == 0 ]] && has promtool && return
    is_root && has apt-get || return 0
    export DEBIAN_FRONTEND=noninteractive
    quietly apt-get update
    [[ ${#packages[@]} == 0 ]] || quietly apt-get install --yes --no-install-recommends "${packages[@]}"
    has promtool || install_promtool
}

# Prometheus' checker of rules, without the service that its package would start.
install_promtool() (
    directory=$(mktemp --directory)
    cd "$directory"
    quietly apt-get download prometheus
    dpkg-deb --fsys-tarfile prometheus_*.deb | tar --extract ./usr/bin/promtool
    mkdir -p "$here/.tools"
    mv usr/bin/promtool "$here/.tools/"
    rm -r "$directory"
)

install_packages() {
    source "$here/../install.sh"
    cd "$here"
    install_python_packages
    cd crds
    if has npm; then install_node_packages; fi
}

is_static() { ! LC_ALL=C readelf --program-headers "$1" | grep --quiet INTERP; }

build_static_binary() {
    local cpu target
    cpu=$(uname -m)
    target=$cpu-unknown-linux-musl
    cd "$root"
    if ! quietly rustup target add "$target"; then
        echo "run.sh: there is no $target to be had; the image is built with glibc, linked statically" >&2
        target=$cpu-unknown-linux-gnu
        # Named as a target so that build scripts, which are not shipped, keep to the usual.
        export RUSTFLAGS="-C target-feature=+crt-static"
    fi
    cargo build --quiet --locked --profile dist --target "$target"
    export STATIC_BINARY=${CARGO_TARGET_DIR:-$root/target}/$target/dist/tokenecho
}

install_tools || true
install_packages
if has buildah && has podman && has readelf && is_root; then
    if is_static "$BINARY"; then
        export STATIC_BINARY=$BINARY
    elif [[ -z ${STATIC_BINARY:-} ]]; then
        build_static_binary
    fi
fi

# A network of the tests' own: the manifests' ports are free there, and "all addresses" is loopback.
own_network=(unshare --net)
is_root || own_network=(unshare --user --map-root-user --net)
cd "$here"
"${own_network[@]}" bash -c 'ip link set lo up && exec "$@"' -- .venv/bin/python -m pytest
