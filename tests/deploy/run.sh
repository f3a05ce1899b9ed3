#!/usr/bin/env bash
# Checks deploy/ against the built server, and builds and runs the image: run.sh [BINARY]
#
# Installs what it needs: Debian packages as root, the rest next to this file. If the tools of a step are not available,
# the step is skipped and reported; with CI=true that is a failure. The image needs a static binary: BINARY if it is
# static, else STATIC_BINARY, else cargo builds one with the release profile `dist`.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
BINARY=$(realpath "${1:-$root/target/debug/tokenecho}")
[[ -x $BINARY ]] || { echo "run.sh: no server binary at $BINARY; build it, or pass another path" >&2; exit 2; }
export BINARY

has() { command -v "$1" >/dev/null; }
is_root() { [[ $(id -u) == 0 ]]; }
log=$(mktemp)
trap 'rm "$log"' EXIT
# Prints a command's output only if the command fails. The tests that need a missing tool report the failure.
quietly() { "$@" >"$log" 2>&1 || { cat "$log" >&2; return 1; }; }

# kubectl, which renders the overlays, must already be installed: no registry that this script uses has it.
install_tools() {
    local packages=() tool
    local tools=(buildah catatonit curl ip:iproute2 musl-gcc:musl-tools node:nodejs npm podman readelf:binutils runc)
    # Each item is a command, followed by its package if that has another name.
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

# Installs Prometheus' rule checker without the service that its package would start.
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
        echo "run.sh: the target $target is not available; building the image with statically linked glibc" >&2
        target=$cpu-unknown-linux-gnu
        # Pass it as a target, so that the flag does not apply to build scripts, which are not shipped.
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

# A separate network namespace: the manifests' ports are free there, and "all addresses" means loopback only.
own_network=(unshare --net)
is_root || own_network=(unshare --user --map-root-user --net)
cd "$here"
"${own_network[@]}" bash -c 'ip link set lo up && exec "$@"' -- .venv/bin/python -m pytest
