"""A mistake with the scripts ends in one line that says what to do, and leaves nothing behind."""

import contextlib
import os
import shutil
import signal
import subprocess
import time

import pytest
from container_runs import ROOT

TOOLS = (
    "bash",
    "sh",
    "basename",
    "cat",
    "cp",
    "dirname",
    "du",
    "find",
    "git",
    "ls",
    "mkdir",
    "mv",
    "pkill",
    "readlink",
)
TOOLS += ("realpath", "rm", "sed", "sha256sum", "sleep", "sort", "tar", "touch", "xargs")


@pytest.fixture
def machine(tmp_path):
    """A PATH on which nothing is but the system's own tools; an engine is a script that tests put there."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in TOOLS:
        (folder / tool).symlink_to(shutil.which(tool))
    return folder


def add(machine, engine: str, script: str = "exit 0"):
    (machine / engine).write_text(f"#!/bin/bash\n{script}\n")
    (machine / engine).chmod(0o755)


def ask(machine, *command, **variables) -> tuple[int, str]:
    """The exit code, and the only line that was printed."""
    done = subprocess.run(
        [str(word) for word in command], cwd=ROOT, env={"PATH": str(machine)} | variables,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert len(lines) == 1, done.stdout
    return done.returncode, lines[0]


@pytest.mark.parametrize("script", ["images", "offline"])
@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_is_usage(machine, script, option):
    code, line = ask(machine, f"containers/{script}.sh", option)
    assert (code, line.startswith(f"usage: {script}.sh ")) == (0, True)


def test_images_without_an_engine(machine):
    code, line = ask(machine, "containers/images.sh", "core")
    assert code == 1
    assert line.startswith("images: docker is not installed, and neither podman nor buildah") and "apt install" in line


@pytest.mark.parametrize(
    ("engine", "script", "reason"),
    [
        ("nope", None, "no engine that builds images"),
        ("podman", None, "podman is not installed"),
        ("docker", "[ $1 != info ]", "docker's daemon does not answer"),
        ("docker", "[ $1 != build ]", "docker has no buildx"),
    ],
)
def test_images_with_an_engine_that_cannot_build(machine, engine, script, reason):
    if script:
        add(machine, engine, script)
    code, line = ask(machine, "containers/images.sh", "core", ENGINE=engine)
    assert code == 1
    assert line.startswith(f"images: ENGINE={engine}: {reason}; ") and "podman or buildah" in line


def test_images_take_the_next_engine_where_docker_cannot_build(machine):
    add(machine, "docker", "exit 1")
    add(machine, "podman", '[ $1 = images ] && echo "the size" || exit 0')
    assert ask(machine, "containers/images.sh", "core") == (0, "the size")


@pytest.mark.parametrize(
    ("folder", "words", "message"),
    [
        ("bundle", ["nope"], "'nope' is no engine; usage: "),
        ("bundle", ["podman", "x"], "'x' is no environment; usage: "),
        ("bundle", [], "usage: "),
        (".", ["podman"], ". exists; name a new folder"),
        ("/proc/x", ["podman"], "cannot make /proc/x: "),
        ("--x", ["podman"], "usage: "),
    ],
)
def test_an_offline_bundle_that_cannot_be_made(machine, folder, words, message):
    add(machine, "podman")
    code, line = ask(machine, "containers/offline.sh", folder, *words)
    assert code == 1
    assert line.startswith(f"offline: {message}")
    assert not (ROOT / "bundle").exists()


def test_an_offline_bundle_without_an_engine_leaves_no_folder(machine, tmp_path):
    code, line = ask(machine, "containers/offline.sh", tmp_path / "bundle", "podman")
    assert code == 1
    assert line.startswith("offline: neither a running docker nor podman; install one")
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize(
    ("whom", "number"),
    [
        ("script", signal.SIGTERM),
        ("script", signal.SIGHUP),
        ("group", signal.SIGTERM),
        ("group", signal.SIGINT),  # Ctrl-C
    ],
)
def test_an_interrupted_offline_bundle_leaves_no_folder(machine, tmp_path, whom, number):
    # What saves an image writes until it is told to end.
    add(machine, "podman", f'[ $1 != save ] || while true; do touch "$3" "{tmp_path}/saving"; sleep 0.05; done')
    script = subprocess.Popen(
        [ROOT / "containers/offline.sh", tmp_path / "bundle", "podman"],
        env={"PATH": str(machine)}, stderr=subprocess.PIPE, start_new_session=True,
        # Tests that were started in the background ignore SIGINT, under nohup SIGHUP, and so would this.
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
    )  # fmt: skip
    try:
        while not (tmp_path / "saving").exists():
            assert script.poll() is None
            time.sleep(0.05)
        assert (tmp_path / "bundle/images").is_dir()
        (os.kill if whom == "script" else os.killpg)(script.pid, number)
        assert script.wait(timeout=20) != 0
        time.sleep(0.3)
        assert not (tmp_path / "bundle").exists()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(script.pid, signal.SIGKILL)


@pytest.fixture
def install(tmp_path):
    """Of a bundle without images, for the engine that a test names."""

    def make(engine: str):
        folder = tmp_path / "bundle"
        folder.mkdir()
        (folder / "engine").write_text(f"{engine}\n")
        (folder / "SHA256SUMS").write_text(f"{'0' * 64}  engine\n")
        return shutil.copy2(ROOT / "containers/offline-install.sh", folder / "install.sh")

    return make


@pytest.mark.parametrize("engine", ["docker", "podman", "singularity", "apptainer"])
def test_a_bundle_where_its_engine_is_absent(machine, install, engine):
    code, line = ask(machine, install(engine))
    assert code == 1
    assert line.startswith(f"install: this bundle is for {engine}, which is not on this machine; install it, or ")


def test_a_bundle_for_docker_without_its_daemon(machine, install):
    add(machine, "docker", "exit 1")
    code, line = ask(machine, install("docker"))
    assert code == 1
    assert line.startswith("install: this bundle is for docker, whose daemon does not answer; start it, or ")


def test_the_install_script_of_bundles_in_a_checkout(machine):
    code, line = ask(machine, "containers/offline-install.sh")
    assert code == 1
    assert line.startswith(f"install: {ROOT}/containers is no bundle; ")


@pytest.mark.parametrize("words", [[], ["/build"], ["containers"]])
def test_the_install_script_of_images_does_nothing_to_a_machine(machine, tmp_path, words):
    for tool in ("apt-get", "python3", "useradd", "rm"):
        (machine / tool).unlink(missing_ok=True)
        add(machine, tool, f"echo {tool} >> {tmp_path}/done")
    code, line = ask(machine, "containers/install.sh", *words)
    assert code == 1
    assert line.startswith("install: only for an image that is being built")
    assert not (tmp_path / "done").exists()


def test_nextflow_of_the_checkout_without_java(machine):
    nextflow = ROOT / ".venv/bin/nextflow"
    if "nextflow.cli.Launcher" not in nextflow.read_text():
        pytest.skip("this Nextflow is not started by a launcher of the project's")
    code, line = ask(machine, nextflow, "-v")
    assert code == 1
    assert line.startswith("nextflow: no Java; install 17 or newer")
