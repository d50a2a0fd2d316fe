#!/usr/bin/env bash
# Builds the images of environments (containers/envs) and prints their sizes: images.sh [ENVIRONMENT ...] [-- options for
# the engine's build]. Without a name: core and gpu.
# With docker, podman or buildah, whichever is there; ENGINE names one. From the environment, where set:
# CONTAINER_REGISTRY (what names begin with, as the parameter container_registry), PIP_INDEX_URL, PIP_EXTRA_INDEX_URL.
set -euo pipefail

cd "$(dirname "$0")/.."
version=$(sed -n "s/^ *version *= '\(.*\)'/\1/p" nextflow.config)
usage="usage: images.sh [ENVIRONMENT ...] [-- options for the engine's build]"

fail() {
    echo "images: $*" >&2
    exit 1
}

# What keeps an engine from building; nothing where it can. A docker client is none without its daemon, and a newer one
# builds with cache mounts by its plugin buildx alone.
obstacle() {
    case $1 in
        docker | podman | buildah) ;;
        *) echo "no engine that builds images" && return ;;
    esac
    if ! command -v "$1" >/dev/null; then
        echo "$1 is not installed"
    elif [ "$1" != docker ]; then
        return
    elif ! docker info >/dev/null 2>&1; then
        echo "docker's daemon does not answer"
    elif ! DOCKER_BUILDKIT=1 docker build --help >/dev/null 2>&1; then
        echo "docker has no buildx"
    fi
}

find_engine() {
    local name
    for name in docker podman buildah; do
        if [ -z "$(obstacle $name)" ]; then
            echo $name
            return
        fi
    done
    fail "$(obstacle docker), and neither podman nor buildah is installed; install one (Debian, Ubuntu: apt install podman)"
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

environments=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    case $1 in
        -h | --help) echo "$usage" && exit ;;
        -* | */* | "") fail "'$1' is no environment; $usage" ;;
        *) [ -d "containers/envs/$1" ] || fail "'$1' is no environment; $usage" ;;
    esac
    environments+=("$1")
    shift
done
if [ $# -gt 0 ]; then shift; fi

engine=${ENGINE:-$(find_engine)}
obstacle=$(obstacle "$engine")
[ -z "$obstacle" ] || fail "ENGINE=$engine: $obstacle; fix that, or take another: docker, podman or buildah"
[ ${#environments[@]} -gt 0 ] || environments=(core gpu)
for environment in "${environments[@]}"; do
    build "${CONTAINER_REGISTRY:-}spatialimpute-$environment:$version" --build-arg "ENVIRONMENT=$environment" "$@"
done
name=Repository
if [ "$engine" = buildah ]; then name=Name; fi
for environment in "${environments[@]}"; do
    "$engine" images --format "{{.$name}}:{{.Tag}} {{.Size}}" "${CONTAINER_REGISTRY:-}spatialimpute-$environment:$version"
done
