"""Images built and the pipeline run in them. Minutes each, so only where this folder is named: `make test-containers`.

Without a registry, the base image and the engines come from ../shared/recipes, which needs root.
"""

import os
import shutil
from pathlib import Path

import pytest
from container_runs import RECIPES, ROOT, VERSION, Workplace, call, environment


def pytest_ignore_collect(collection_path, config):
    """All of it, unless it was asked for."""
    named = [Path(argument.split("::")[0]).resolve() for argument in config.args]
    return None if any(path.is_relative_to(Path(__file__).parent) for path in named) else True


@pytest.fixture(scope="session")
def engines():
    """podman, buildah and Charliecloud are there, and the base image is in their store."""
    if not RECIPES.is_dir():
        pytest.skip(f"no {RECIPES.name} to make a base image without a registry")
    if os.geteuid() != 0:
        pytest.skip("the base image can be made by root alone")
    if not all(shutil.which(name) for name in ("podman", "buildah", "ch-run", "debootstrap")):
        call("bash", RECIPES / "pkgs.sh")
    if call("podman", "image", "exists", "debian:12-slim", check=False).returncode != 0:
        call("bash", RECIPES / "base.sh")


@pytest.fixture(scope="session")
def build(engines):
    """Builds an image by images.sh, or takes its layers from an earlier build: `build("core")` is its name."""

    def make(name: str) -> str:
        image = f"localhost/spatialimpute-{name}:{VERSION}"
        free = shutil.disk_usage("/var/lib").free / 1e9
        if free < 30 and call("podman", "image", "exists", image, check=False).returncode != 0:
            pytest.skip(f"{free:.0f} GB free; building and unpacking an image takes 30")
        # What a machine with a registry and certificates of its own does not need.
        options = [
            "--isolation", "chroot", "--network", "host", "--pull-never", "--build-arg", "BASE=debian:12-slim",
            "-v", "/etc/ssl/certs/ca-certificates.crt:/run/host-ca.crt:ro",
            "-v", f"{RECIPES}/pip.conf:/etc/pip.conf:ro",
        ]  # fmt: skip
        done = call("containers/images.sh", name, "--", *options, cwd=ROOT, env=environment(ENGINE="buildah"))
        size = done.stdout.strip().splitlines()[-1]
        print(f"\nsize: {size}")
        assert f"spatialimpute-{name}:{VERSION}" in size
        return image

    return make


@pytest.fixture(scope="session")
def core_image(build):
    return build("core")


@pytest.fixture(scope="session")
def gpu_image(build):
    return build("gpu")


@pytest.fixture(scope="session")
def workplace(tmp_path_factory):
    return Workplace(tmp_path_factory.mktemp("containers"))


@pytest.fixture(scope="session")
def local(workplace):
    """The results that every other way of running must give."""
    return workplace.run("local", "local")
