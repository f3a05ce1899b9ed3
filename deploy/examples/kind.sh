#!/usr/bin/env bash
# Not run in CI: it takes a container engine, kind and kubectl. Builds the image, makes a cluster, runs the dev
# overlay in it and the smoke test of both protocols: kind.sh [BINARY]
#
# BINARY is a static tokenecho; without one the image is compiled by the Dockerfile. The cluster stays, so that one can
# look at it, on 127.0.0.1:8000 and :50051; `kind delete cluster --name tokenecho` removes it.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
image=tokenecho:$(sed -n 's/^version = "\(.*\)"/\1/p' ../Cargo.toml | head -1)

if [[ $# == 1 ]]; then
    BUILDER=docker ./build-image.sh "$1" "$image"
else
    docker build --file Dockerfile --tag "$image" --build-arg REVISION="$(git rev-parse HEAD)" ..
fi

# The dev overlay's node ports, on loopback.
kind create cluster --name tokenecho --config - <<'CLUSTER'
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
nodes:
  - role: control-plane
    extraPortMappings:
      - {containerPort: 30080, hostPort: 8000, listenAddress: 127.0.0.1}
      - {containerPort: 30051, hostPort: 50051, listenAddress: 127.0.0.1}
CLUSTER
kind load docker-image "$image" --name tokenecho

kubectl=(kubectl --context kind-tokenecho --namespace tokenecho-dev)
"${kubectl[@]}" apply --kustomize overlays/dev
"${kubectl[@]}" rollout status deployment/tokenecho --timeout=120s
"${kubectl[@]}" apply --filename examples/client-job.yaml
"${kubectl[@]}" wait --for=condition=complete --timeout=120s job/tokenecho-smoke
"${kubectl[@]}" logs job/tokenecho-smoke
