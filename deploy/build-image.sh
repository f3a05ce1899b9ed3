#!/usr/bin/env bash
# Builds the image from a static binary that cargo built outside: build-image.sh BINARY TAG
#
#   cargo build --locked --profile dist --target x86_64-unknown-linux-musl
#   deploy/build-image.sh target/x86_64-unknown-linux-musl/dist/tokenecho tokenecho:0.1.0
#
# It runs the Dockerfile's last stage, so the image is the same. Set BUILDER to choose buildah, podman or docker.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[[ $# == 2 && -f $1 ]] || { echo "usage: build-image.sh BINARY TAG (BINARY is a file)" >&2; exit 2; }
binary=$1 tag=$2

# The image has no dynamic loader, so a binary that needs one could not start.
if LC_ALL=C readelf --program-headers "$binary" | grep --quiet INTERP; then
    echo "build-image.sh: $binary is linked dynamically; build it with --target x86_64-unknown-linux-musl" >&2
    exit 1
fi
# Bytes 18 and 19 of an ELF file hold the processor type.
case $(od --address-radix=n --format=u2 --skip-bytes=18 --read-bytes=2 "$binary" | tr -d ' ') in
    62) platform=linux/amd64 ;;
    183) platform=linux/arm64 ;;
    *) echo "build-image.sh: $binary is built neither for amd64 nor for arm64" >&2; exit 1 ;;
esac

if [[ -z ${BUILDER:-} ]]; then
    for BUILDER in buildah podman docker; do
        command -v "$BUILDER" >/dev/null && break
    done
fi
build=("$BUILDER" build)
# The OCI format has no HEALTHCHECK and would drop it silently.
[[ $BUILDER == docker ]] || build+=(--format docker)

context=$(mktemp --directory)
trap 'rm -r "$context"' EXIT
cp "$binary" "$context/tokenecho"
chmod 0755 "$context/tokenecho"
sed -n '/^FROM scratch/,$p' "$here/Dockerfile" | sed 's/^COPY --from=builder /COPY /' >"$context/Dockerfile"

version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$here/../Cargo.toml" | head -1)
revision=$(git -C "$here" rev-parse HEAD 2>/dev/null || echo unknown)
"${build[@]}" --platform "$platform" --tag "$tag" \
    --build-arg VERSION="$version" --build-arg REVISION="$revision" "$context"
