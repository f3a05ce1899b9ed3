#!/usr/bin/env bash
# Builds the image, creates a cluster, and runs the dev overlay and the smoke test of both protocols in it:
# kind.sh [BINARY]
#
# BINARY is a static tokenecho binary; without it, the Dockerfile compiles one. The cluster keeps running, reachable on
# 127.0.0.1:8000 and :50051; `kind delete cluster --name tokenecho` removes it. CI does not run this script: it needs a
# container engine, kind and kubectl.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
image=tokenecho:$(sed -n 's/^version = "\(.*\)"/\1/p' ../Cargo.toml | head -1)

if [[ $# == 1 ]]; then
    BUILDER=docker ./build-image.sh "$1" "$image"
else
    docker build --file Dockerfile --tag "$image" --build-arg REVISION="$(git rev-parse HEAD)" ..
fi

# Map the dev overlay's node ports to loopback.
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
