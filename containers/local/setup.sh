#!/usr/bin/env bash
# Makes the environment of `-profile local` under the checkout: setup.sh python, setup.sh nextflow; and those of steps and
# methods with packages of their own, by the names of containers/envs: setup.sh peers, setup.sh export.
# Does nothing where what it would make is up to date; ends in one line where a tool is missing.
set -euo pipefail

cd "$(dirname "$0")/../.."
here=containers/local
nextflow_version=25.04.4

fail() {
    echo "setup: $*" >&2
    exit 1
}

# Run `$3`, which makes `$2`, unless that is there and was made with the same `$1` (a digest).
once() {
    local stamp=.venv/.$3.stamp
    [ -x "$2" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$1" ] && return
    "$3"
    echo "$1" > "$stamp"
}

digest() {
    cat "$@" | sha256sum
}

find_python() {
    local name
    for name in python3 python3.14 python3.13 python3.12 python3.11; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$name"
            return
        fi
    done
    fail "no Python 3.11 or newer; install one (Debian, Ubuntu: apt install python3 python3-venv)"
}

install_python() {
    local python
    python=$(find_python)
    echo "setup: Python packages into .venv (some minutes the first time)" >&2
    if command -v uv >/dev/null; then
        [ -x .venv/bin/python ] || uv venv --quiet --allow-existing --python "$python" .venv
        uv pip install --quiet --python .venv/bin/python -r $here/requirements.lock -r $here/requirements-dev.lock
    else
        "$python" -c 'import ensurepip' 2>/dev/null ||
            fail "$python has no venv; install it (Debian, Ubuntu: apt install python3-venv)"
        [ -x .venv/bin/pip ] || "$python" -m venv .venv
        .venv/bin/pip install --quiet --disable-pip-version-check \
            -r $here/requirements.lock -r $here/requirements-dev.lock
    fi
    # Compiled once, here: a step that has to compile what it imports starts seconds later, every time. Some packages
    # hold templates that are no Python.
    .venv/bin/python -m compileall -q -j 0 .venv/lib >/dev/null || true
}

# An environment in .venv-NAME, whose Python is reached as NAME-python.
install_environment() {
    local name=$1 python
    python=$(find_python)
    echo "setup: Python packages into .venv-$name (some minutes the first time)" >&2
    [ -x ".venv-$name/bin/pip" ] || "$python" -m venv ".venv-$name"
    ".venv-$name/bin/pip" install --quiet --disable-pip-version-check -r "containers/envs/$name/requirements.lock"
    # A link would be taken for the Python of .venv.
    {
        echo '#!/usr/bin/env bash'
        echo "root=\$(cd \"\$(dirname \"\$(readlink -f \"\$0\")\")/../..\" && pwd)"
        echo "exec \"\$root/.venv-$name/bin/python\" \"\$@\""
    } > ".venv/bin/$name-python"
    chmod +x ".venv/bin/$name-python"
}

install_peers() {
    install_environment peers
}

install_export() {
    install_environment export
}

check_java() {
    local version
    command -v java >/dev/null || fail "no Java; install 17 or newer (Debian, Ubuntu: apt install openjdk-17-jre-headless)"
    version=$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p')
    [ "${version:-0}" -ge 17 ] ||
        fail "Java ${version:-of unknown version} is too old; install 17 or newer (Debian, Ubuntu: apt install openjdk-17-jre-headless)"
}

# A nextflow on PATH that is new enough and not the one made here.
nextflow_on_path() {
    local found version
    found=$(PATH=${PATH//"$PWD/.venv/bin:"/} command -v nextflow) || return 1
    version=$(cd "$(mktemp -d)" && "$found" -v 2>/dev/null | sed -n 's/.*version \([0-9]*\.[0-9]*\).*/\1/p')
    [ "$(printf '%s\n' 25.04 "${version:-0}" | sort -V | head -1)" = 25.04 ] && echo "$found"
}

# The official launcher, which fetches Nextflow at its first start.
download_nextflow() {
    mkdir -p .venv/share/nextflow
    curl -fsSL --connect-timeout 5 --max-time 60 https://get.nextflow.io -o .venv/share/nextflow/launcher 2>/dev/null || return 1
    wrapper <<EOF
export NXF_VER=$nextflow_version
exec bash "\$root/.venv/share/nextflow/launcher" "\$@"
EOF
    (cd .venv/share && timeout 120 "$PWD/../bin/nextflow" -v >/dev/null 2>&1)
}

# Nextflow's jars from Maven Central, started by a launcher of our own.
maven_nextflow() {
    local jars=.venv/share/nextflow/jars
    command -v mvn >/dev/null ||
        fail "no nextflow, no download of it and no Maven; install Nextflow 25.04 or newer, or Maven (apt install maven)"
    rm -rf .venv/share/nextflow
    mkdir -p .venv/share/nextflow/mended
    mvn --batch-mode --log-file .venv/share/nextflow/maven.log --file $here/nextflow/pom.xml \
        dependency:copy-dependencies -DoutputDirectory="$PWD/$jars" >/dev/null ||
        fail "Maven cannot fetch Nextflow (.venv/share/nextflow/maven.log); install Nextflow 25.04 or newer, or fix that"
    java -cp "$jars/*" org.codehaus.groovy.tools.FileSystemCompiler \
        -d .venv/share/nextflow/mended $here/nextflow/*.groovy
    # The short-lived JVM's flags halve the start; the rest opens what Nextflow reaches into, as its own launcher does.
    wrapper <<'EOF'
command -v java >/dev/null || {
    echo "nextflow: no Java; install 17 or newer (Debian, Ubuntu: apt install openjdk-17-jre-headless)" >&2
    exit 1
}
export NXF_OFFLINE=true NXF_PLUGINS_DEFAULT=false
export NXF_CLI="nextflow $*"
if [ -t 1 ]; then export COLUMNS=${COLUMNS:-$(tput cols 2>/dev/null || echo 80)}; fi
opens=()
for package in lang io nio net util util.concurrent.locks util.concurrent.atomic util.regex; do
    opens+=(--add-opens=java.base/java.$package=ALL-UNNAMED)
done
for package in sun.nio.ch sun.nio.fs sun.net.www.protocol.http sun.net.www.protocol.https \
    sun.net.www.protocol.ftp sun.net.www.protocol.file jdk.internal.misc jdk.internal.vm; do
    opens+=(--add-opens=java.base/$package=ALL-UNNAMED)
done
exec java -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dfile.encoding=UTF-8 "${opens[@]}" ${NXF_OPTS:-} \
    -cp "$root/.venv/share/nextflow/mended:$root/.venv/share/nextflow/jars/*" nextflow.cli.Launcher "$@"
EOF
}

# .venv/bin/nextflow from the lines on stdin; runs from any folder, with its files under the checkout.
wrapper() {
    rm -f .venv/bin/nextflow
    {
        cat <<'EOF'
#!/usr/bin/env bash
root=$(cd "$(dirname "$(readlink -f "$0")")/../.." && pwd)
export NXF_HOME=${NXF_HOME:-$root/.nextflow-home}
EOF
        cat
    } > .venv/bin/nextflow
    chmod +x .venv/bin/nextflow
}

install_nextflow() {
    local found
    check_java
    echo "setup: Nextflow into .venv" >&2
    mkdir -p .venv/bin
    if found=$(nextflow_on_path); then
        ln -sfn "$found" .venv/bin/nextflow
    elif ! download_nextflow; then
        maven_nextflow
    fi
    (cd .venv && bin/nextflow -v >/dev/null) || fail "Nextflow does not start; see the message above"
}

case ${1:-} in
    python)
        once "$(digest $here/requirements.lock $here/requirements-dev.lock)" .venv/bin/python install_python
        ;;
    nextflow)
        once "$(digest $here/nextflow/* $here/setup.sh)" .venv/bin/nextflow install_nextflow
        ;;
    peers | export)
        once "$(digest "containers/envs/$1/requirements.lock")" ".venv/bin/$1-python" "install_$1"
        ;;
    *)
        fail "usage: setup.sh python|nextflow|peers|export"
        ;;
esac
