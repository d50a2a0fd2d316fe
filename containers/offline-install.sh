#!/usr/bin/env bash
# Puts what containers/offline.sh packed into place, on the machine without network, and prints how to run it.
# May be run again, after the bundle was moved for example.
set -euo pipefail

fail() {
    echo "install: $*" >&2
    exit 1
}

cd "$(dirname "$0")"
{ [ -f SHA256SUMS ] && [ -f engine ]; } || fail "$PWD is no bundle; containers/offline.sh makes one, with its install.sh"
engine=$(cat engine)
cache=
other="or make a bundle for another engine (containers/offline.sh FOLDER ENGINE)"
if [ "$engine" = charliecloud ]; then
    command -v ch-run >/dev/null || echo "install: no Charliecloud here; the nodes need its ch-run" >&2
elif ! command -v "$engine" >/dev/null; then
    fail "this bundle is for $engine, which is not on this machine; install it, $other"
elif [ "$engine" = docker ] && ! docker info >/dev/null 2>&1; then
    fail "this bundle is for docker, whose daemon does not answer; start it, $other"
fi
sha256sum --check --quiet SHA256SUMS || fail "the bundle is damaged; copy it again"

# A directory of Nextflow's cache for Charliecloud. Mount points cannot be made in a read-only image, so it gets one
# for each folder at the top of this machine.
unpack() {
    local place=images/unpacking top
    rm -rf "$place" "images/img/$2"
    mkdir -p "$place" images/img images/dlcache
    tar --extract --file "$1.tar" --directory "$place" --exclude 'dev/*'
    for top in /*/; do mkdir -p "$place$top"; done
    mkdir -p "$place"/{ch,mnt/0,mnt/1}
    : > "$place/etc/hosts"
    : > "$place/etc/resolv.conf"
    cp "$1.env" "$place/ch/environment"
    mv "$place" "images/img/$2"
}

for archive in images/spatialimpute-*.tar; do
    name=$(basename "$archive" .tar)
    environment=${name#spatialimpute-}
    image=spatialimpute-${environment%%-*}:${environment#*-}
    case $engine in
        docker | podman)
            loaded=$("$engine" load --input "$archive" | sed -n 's/^Loaded image[^:]*: *//p')
            "$engine" tag "$loaded" "$image"
            ;;
        singularity | apptainer)
            "$engine" build --force "images/$name.img" "docker-archive:$archive"
            cache="NXF_${engine^^}_CACHEDIR=$PWD/images"
            ;;
        charliecloud)
            unpack "${archive%.tar}" "${image/:/+}"
            cache="NXF_CHARLIECLOUD_CACHEDIR=$PWD/images"
            ;;
    esac
done
nextflow=$PWD/spatialimpute/.venv/bin/nextflow
[ -x "$nextflow" ] || nextflow=nextflow
command=(NXF_OFFLINE=true ${cache:+"$cache"} "$nextflow" run "$PWD/spatialimpute" -profile "$engine")
printf '%q ' "${command[@]}"
echo "--input samplesheet.csv --outdir results"
