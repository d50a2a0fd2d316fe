"""The pipeline in containers gives the bytes that it gives without."""

import shutil

import pytest
from container_runs import ROOT, UNKNOWN_USER, VERSION, call, environment

#: As unkind as a site can be. A task of QC gets too little memory at its first try.
STRICT = f"""
podman.runOptions = '-u {UNKNOWN_USER} --network=none --read-only --tmpfs /tmp --cap-drop=ALL'
process.'withName:QC'.memory = {{ task.attempt == 1 ? 60.MB : 4.GB }}
"""


@pytest.fixture(scope="module")
def podman(workplace, core_image):
    return workplace.run("podman", "podman", config=STRICT)


@pytest.fixture(scope="module")
def bundle(workplace, core_image):
    """What offline.sh makes for a machine with Charliecloud, put into place there, and the command that this prints."""
    folder = workplace.folder / "bundle"
    call("containers/offline.sh", folder, "charliecloud", cwd=ROOT)
    installed = call(folder / "install.sh")
    yield folder, installed.stdout.splitlines()[-1]
    shutil.rmtree(folder)  # twice the image's size


def test_podman_without_network_home_root_and_a_writable_system(local, podman):
    assert len(local.digests()) > 20
    assert podman.digests() == local.digests()
    launchers = podman.launchers()
    assert all("--network=none --read-only --tmpfs /tmp --cap-drop=ALL" in text for text in launchers)
    assert all(f" spatialimpute-core:{VERSION} " in text for text in launchers)


def test_a_container_over_its_memory_is_tried_again_with_more(podman):
    qc = podman.tasks[podman.tasks["process"].str.endswith(":QC")]
    first = qc[qc["attempt"] == 1]
    assert first["exit"].astype(str).tolist() == ["137"] * 3
    again = qc[qc["attempt"] == 2]
    assert sorted(again["tag"]) == sorted(first["tag"])
    assert set(again["status"]) == {"COMPLETED"}


def test_the_gpu_image_has_all_that_tasks_on_a_gpu_need(workplace, local, podman, core_image, gpu_image):
    """On a CPU here, since a container can be given no GPU that is not there."""
    chosen = f"task.ext.gpu ? '{gpu_image}' : '{core_image}'"
    image = f"process.'withLabel:process_gpu'.container = {{ {chosen} }}\n"
    run = workplace.run("gpu", "podman", "-resume", config=STRICT + image)
    assert len([text for text in run.launchers() if f"spatialimpute-gpu:{VERSION} " in text]) == 6
    assert run.digests() == local.digests()


def test_the_default_options_of_podman(workplace, core_image):
    """Those of the profile itself, as root runs it."""
    run = workplace.run("default", "podman", "--cv_folds", "0", "--max_steps", "2")
    assert all("--network none --read-only" in text for text in run.launchers())
    assert (run.outdir / "cortex_1/imputed.h5ad").exists()


def test_charliecloud_from_a_bundle_on_a_machine_without_network(workplace, local, bundle):
    folder, command = bundle
    settings, nextflow = f"NXF_CHARLIECLOUD_CACHEDIR={folder}/images", f"{folder}/spatialimpute/.venv/bin/nextflow"
    assert command.startswith(
        f"NXF_OFFLINE=true {settings} {nextflow} run {folder}/spatialimpute -profile charliecloud "
    )
    run = workplace.run(
        "charliecloud", "charliecloud", before=("unshare", "--net"), checkout=folder / "spatialimpute",
        NXF_OFFLINE="true", NXF_CHARLIECLOUD_CACHEDIR=str(folder / "images"), USER="root",
    )  # fmt: skip
    assert all("ch-run" in text and f"spatialimpute-core+{VERSION} " in text for text in run.launchers())
    assert run.digests() == local.digests()


@pytest.fixture
def stand_in(engines):
    """Settings under which an image of little size is the pipeline's, and its name."""
    name = f"localhost/elsewhere/spatialimpute-core:{VERSION}"
    call("podman", "tag", "debian:12-slim", name)
    yield environment(CONTAINER_REGISTRY="localhost/elsewhere/"), name
    call("podman", "untag", "debian:12-slim", name)


@pytest.mark.parametrize("engine", ["docker", "podman"])
def test_a_bundle_of_archives_is_loaded_under_the_name_that_the_pipeline_uses(tmp_path, stand_in, engine):
    """A program in the engine's place tells what it is asked to do: the real image's name is not to be overwritten."""
    variables, name = stand_in
    folder = tmp_path / "bundle"
    call("containers/offline.sh", folder, engine, "core", cwd=ROOT, env=variables)
    fake = tmp_path / engine
    load = f'exec {shutil.which("podman")} load -i "$3"'
    fake.write_text(f'#!/bin/bash\n[ $1 != info ] || exit 0\necho "$@" >> {tmp_path}/asked\n[ $1 != load ] || {load}\n')
    fake.chmod(0o755)
    installed = call(folder / "install.sh", env=environment(PATH=f"{tmp_path}:/usr/bin:/bin"))
    loading, naming = (tmp_path / "asked").read_text().splitlines()
    assert loading == f"load --input images/spatialimpute-core-{VERSION}.tar"
    assert naming == f"tag {name} spatialimpute-core:{VERSION}"
    assert f"-profile {engine} " in installed.stdout.splitlines()[-1]


def test_a_damaged_bundle_is_refused(tmp_path, stand_in):
    folder = tmp_path / "bundle"
    call("containers/offline.sh", folder, "podman", cwd=ROOT, env=stand_in[0])
    archive = folder / f"images/spatialimpute-core-{VERSION}.tar"
    with archive.open("r+b") as file:
        file.seek(1000)
        file.write(b"x")
    done = call(folder / "install.sh", check=False)
    assert done.returncode != 0
    assert f"{archive.name}: FAILED" in done.stdout


def test_singularity(workplace, local, core_image):
    engine = next((name for name in ("apptainer", "singularity") if shutil.which(name)), None)
    if engine is None:
        pytest.skip("neither Singularity nor Apptainer on this machine, and no package of either to install")
    folder = workplace.folder / "sif"
    call("containers/offline.sh", folder, engine, cwd=ROOT)
    call(folder / "install.sh")
    run = workplace.run(engine, engine, **{f"NXF_{engine.upper()}_CACHEDIR": str(folder / "images")})
    shutil.rmtree(folder)
    assert run.digests() == local.digests()
