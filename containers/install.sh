#!/bin/sh
# Run inside an image that is being built: Python, and of the locked packages those that a list needs, into
# /opt/spatialimpute. install.sh FOLDER, where requirements.in and requirements.lock are; FOLDER is removed.
# Every package comes as a wheel or is plain Python, so no compiler is ever there.
set -eu
# As root of a machine, in a checkout, this would change the machine.
if [ "$0" != /build/install.sh ] || [ "$*" != /build ]; then
    echo "install: only for an image that is being built, as '/build/install.sh /build'; see containers/images.sh" >&2
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive

apt-get update
# Nextflow needs bash (in the base) and ps.
apt-get install --yes --no-install-recommends procps python3 python3-venv
python3 -m venv /opt/spatialimpute
# The lock only limits versions: a torch without CUDA, from an index of CPU wheels, brings none of the CUDA libraries
# that the lock names.
/opt/spatialimpute/bin/pip install --disable-pip-version-check --requirement "$1/requirements.in" \
    --constraint "$1/requirements.lock"
/opt/spatialimpute/bin/pip uninstall --yes pip
# The name by which a method's command finds its environment's Python everywhere.
ln -s python3 "/opt/spatialimpute/bin/${ENVIRONMENT:?}-python"
useradd --uid 1000 --create-home spatialimpute

apt-get purge --yes --auto-remove python3-venv
rm -rf "$1" /var/lib/apt/lists/* /var/cache/apt/* /var/log/apt /var/log/dpkg.log
