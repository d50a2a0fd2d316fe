#!/usr/bin/env bash
# Makes a folder to carry to a machine without network: offline.sh FOLDER ENGINE [ENVIRONMENT ...].
# ENGINE is that machine's: docker, podman, singularity, apptainer or charliecloud. Beside the environment core, which
# every step but those on a GPU needs, the images of those that are named are packed. Images that are not here are built,
# with docker or podman. In the folder: the pipeline, Nextflow as `make setup` put it here, images, checksums, and
# install.sh, to be run there.
set -euo pipefail

fail() {
    echo "offline: $*" >&2
    exit 1
}

usage="usage: offline.sh FOLDER docker|podman|singularity|apptainer|charliecloud [ENVIRONMENT ...]"
case ${1:-} in
    -h | --help) echo "$usage" && exit ;;
    "" | -*) fail "$usage" ;;
esac
[ $# -ge 2 ] || fail "$usage"
case $2 in
    docker | podman | singularity | apptainer | charliecloud) ;;
    *) fail "'$2' is no engine; $usage" ;;
esac
[ ! -e "$1" ] || fail "$1 exists; name a new folder"
folder=$(realpath -m -- "$1")
engine=$2
shift 2

cd "$(dirname "$0")/.."
environments=(core)
for environment in "$@"; do
    case $environment in
        core) ;;
        -* | */* | "") fail "'$environment' is no environment; $usage" ;;
        *)
            [ -d "containers/envs/$environment" ] || fail "'$environment' is no environment; $usage"
            environments+=("$environment")
            ;;
    esac
done
version=$(sed -n "s/^ *version *= '\(.*\)'/\1/p" nextflow.config)
local=podman
if command -v docker >/dev/null && docker info >/dev/null 2>&1; then local=docker; fi
command -v $local >/dev/null || fail "neither a running docker nor podman; install one (Debian, Ubuntu: apt install podman)"
git ls-files >/dev/null 2>&1 || fail "git does not know $PWD; a bundle is made from a git checkout"

complete=
container=
# Nothing stays of a bundle that is not complete. A signal to this script alone has left what it ran.
clean_up() {
    local try
    [ -z "$complete" ] || return 0
    for try in 1 2 3 4 5; do
        pkill -P $$ 2>/dev/null || break
        sleep "0.$try"
    done
    rm -rf "$folder"
    if [ -n "$container" ]; then $local rm --force "$container" >/dev/null; fi
}

# A flat file system with its environment, which is all that Charliecloud runs.
export_flat() {
    container=$($local create "$1" true)
    $local export --output "$2.tar" "$container"
    $local rm "$container" >/dev/null
    container=
    $local image inspect "$1" --format '{{range .Config.Env}}{{println .}}{{end}}' | sed '/^$/d' > "$2.env"
}

reason=$(mkdir "$folder" 2>&1) || fail "cannot make $folder: ${reason##*: }"
trap clean_up EXIT
mkdir "$folder/images" "$folder/spatialimpute" "$folder/temporary"
for environment in "${environments[@]}"; do
    image=${CONTAINER_REGISTRY:-}spatialimpute-$environment:$version
    $local image inspect "$image" >/dev/null 2>&1 || ENGINE=$local containers/images.sh "$environment"
    if [ "$engine" = charliecloud ]; then
        export_flat "$image" "$folder/images/spatialimpute-$environment-$version"
    else
        # An engine that is ended leaves what it has there.
        TMPDIR=$folder/temporary $local save --output "$folder/images/spatialimpute-$environment-$version.tar" "$image"
    fi
done

rm -r "$folder/temporary"
git ls-files -z --cached --exclude-standard | tar --create --null --files-from=- | tar --extract -C "$folder/spatialimpute"
if [ -d .venv/share/nextflow ]; then
    mkdir -p "$folder/spatialimpute/.venv/bin" "$folder/spatialimpute/.venv/share"
    cp .venv/bin/nextflow "$folder/spatialimpute/.venv/bin"
    cp -R .venv/share/nextflow "$folder/spatialimpute/.venv/share"
    # What the official launcher fetched at its first start; Nextflow from Maven has none.
    if [ -d .nextflow-home/framework ]; then
        mkdir "$folder/spatialimpute/.nextflow-home"
        cp -R .nextflow-home/framework "$folder/spatialimpute/.nextflow-home"
    fi
else
    echo "offline: no Nextflow in the bundle (make setup adds one); the other machine needs its own, 25.04 or newer" >&2
fi
echo "$engine" > "$folder/engine"
cp containers/offline-install.sh "$folder/install.sh"
(cd "$folder" && find engine images install.sh spatialimpute -type f -print0 | sort -z | xargs -0 sha256sum > SHA256SUMS)
complete=yes
du -sh "$folder"
