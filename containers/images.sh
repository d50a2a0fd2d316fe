#!/usr/bin/env bash
# Builds the images and prints their sizes: images.sh [cpu] [gpu] [-- options for the engine's build].
# With docker, podman or buildah, whichever is there; ENGINE names one. From the environment, where set:
# CONTAINER_REGISTRY (what names begin with, as the parameter container_registry), PIP_INDEX_URL, PIP_EXTRA_INDEX_URL.
set -euo pipefail

cd "$(dirname "$0")/.."
version=$(sed -n "s/^ *version *= '\(.*\)'/\1/p" nextflow.config)

fail() {
    echo "images: $*" >&2
    exit 1
}

# A docker client without an engine is no docker.
find_engine() {
    local name
    for name in docker podman buildah; do
        if command -v $name >/dev/null && { [ $name != docker ] || docker info >/dev/null 2>&1; }; then
            echo $name
            return
        fi
    done
    fail "neither a running docker nor podman nor buildah; install one of them (Debian, Ubuntu: apt install podman)"
}

build() {
    local image=$1
    shift
    local arguments=(--build-arg "VERSION=$version") name
    for name in PIP_INDEX_URL PIP_EXTRA_INDEX_URL; do
        if [ -n "${!name:-}" ]; then arguments+=(--build-arg "$name=${!name}"); fi
    done
    # buildah keeps no layers for a next build unless told to; docker is told to use the builder that has cache mounts.
    if [ "$engine" = buildah ]; then arguments+=(--layers --format docker); fi
    DOCKER_BUILDKIT=1 "$engine" build "${arguments[@]}" --tag "$image" "$@" containers
}

engine=${ENGINE:-$(find_engine)}
kinds=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    case $1 in
        cpu | gpu) kinds+=("$1") ;;
        *) fail "'$1' is no image; usage: images.sh [cpu] [gpu] [-- options for the engine's build]" ;;
    esac
    shift
done
if [ $# -gt 0 ]; then shift; fi

[ ${#kinds[@]} -gt 0 ] || kinds=(cpu gpu)
for kind in "${kinds[@]}"; do
    build "${CONTAINER_REGISTRY:-}spatialimpute-$kind:$version" --file "containers/$kind/Dockerfile" "$@"
done
name=Repository
if [ "$engine" = buildah ]; then name=Name; fi
for kind in "${kinds[@]}"; do
    "$engine" images --format "{{.$name}}:{{.Tag}} {{.Size}}" "${CONTAINER_REGISTRY:-}spatialimpute-$kind:$version"
done
