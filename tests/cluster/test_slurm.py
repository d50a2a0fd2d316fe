"""The `test` profile through a real Slurm, with the site's template: GPU requests, methods, killed jobs."""

import re

import anndata as ad
import pytest

#: A node of this size for every job, and in each job's log the GPUs that Slurm gave it. They are pretended ones, so
#: that steps must not insist on them (accelerator auto), and the options have to be given.
LIMITS = """
process.'withLabel:process_gpu'.queue = { task.ext.gpu ? 'gpu' : 'main' }
process.resourceLimits = [cpus: 2, memory: 3.GB, time: 10.min]
process.beforeScript = 'echo "GPUs: ${CUDA_VISIBLE_DEVICES:-none}"'
"""

#: QC of the first sample outlives its time limit (its shell reads BASH_ENV before the script), of the second is killed
#: and leaves no exit code; once each.
DYING = """
process.resourceLimits = [cpus: 1, memory: 3.GB, time: 10.min]
process {
    withName: 'QC' {
        time         = { 1.min * task.attempt }
        memory       = { 500.MB * task.attempt }
        beforeScript = {
            def first = [
                cortex_1: 'echo "sleep 600" > slow.sh; export BASH_ENV=$PWD/slow.sh',
                cortex_2: 'kill -9 $$',
            ]
            task.attempt > 1 ? '' : first[meta.id] ?: ''
        }
    }
}
"""

OWN_REQUEST = "--gres=gpu:1 --nice=1"


@pytest.fixture(scope="module")
def runs(begin):
    """Both at once: one waits for its time limit while the other computes. The second takes no real step."""
    whole = begin("whole", "--gpu_cluster_options=--gres=gpu:1", config=LIMITS)
    dying = begin(
        "dying",
        "-stub-run",
        "--methods",
        "knn",
        f"--gpu_cluster_options={OWN_REQUEST}",
        profile="test,slurm,gpu,local",
        config=DYING,
    )
    return whole.wait(), dying.wait()


@pytest.fixture(scope="module")
def whole(runs):
    return runs[0]


@pytest.fixture(scope="module")
def dying(runs):
    return runs[1]


def header(job) -> list[str]:
    return re.findall(r"^#SBATCH (.*)$", job.script, re.M)


def test_the_test_profile_runs_through_slurm(whole, slurm):
    assert whole.process.returncode == 0, whole.text
    assert "WARN" not in whole.text
    for sample in ("cortex_1", "cortex_2"):
        assert ad.read_h5ad(whole.folder / f"results/{sample}/imputed.h5ad", backed="r").n_obs > 0
    assert all(job.row["status"] == "COMPLETED" for job in whole.jobs)
    ended = [job for job in slurm.jobs() if job["JobState"] == "COMPLETED"]
    assert len(ended) >= len(whole.jobs)


def can_use_a_gpu(job) -> bool:
    return job.row["process"] in ("TRAIN", "IMPUTE") or job.row["tag"].endswith(" gimvi")


def test_what_can_use_a_gpu_gets_one_and_nothing_else_does(whole):
    for job in whole.jobs:
        needs = can_use_a_gpu(job)
        assert ("--gres=gpu:1" in header(job)) == needs, job.row["name"]
        assert ("-p gpu" in header(job)) == needs, job.row["name"]
        assert bool(re.search(r"^GPUs: \d$", job.log, re.M)) == needs, job.row["name"]
    assert {job.row["process"] for job in whole.jobs if can_use_a_gpu(job)} == {"PREDICT", "TRAIN", "IMPUTE"}


def test_each_method_is_a_job_that_asks_for_its_own_cores(whole):
    asked = {(job.row["tag"], "-c 2" in header(job)) for job in whole.of("PREDICT")}
    by_method = {"gimvi": True, "knn": True, "linear": True, "celltype": True, "total": False}
    assert asked == {(f"{s} {m}", more) for s in ("cortex_1", "cortex_2") for m, more in by_method.items()}


def test_a_job_over_its_time_limit_is_retried_with_more_time(dying, slurm):
    first, second = dying.of("QC", "cortex_1")
    assert str(first.row["exit"]) == "140"
    assert "-t 00:01:00" in header(first) and "-t 00:02:00" in header(second)
    assert second.row["status"] == "COMPLETED"
    assert any(job["JobState"] in ("TIMEOUT", "FAILED") and job["TimeLimit"] == "1" for job in slurm.jobs())


def test_a_job_that_leaves_no_exit_code_is_retried_with_more_memory(dying):
    first, second = dying.of("QC", "cortex_2")
    assert str(first.row["exit"]) == "-"
    assert "--mem 500M" in header(first) and "--mem 1000M" in header(second)
    assert second.row["status"] == "COMPLETED"
    assert dying.process.returncode == 0, dying.text


def test_a_required_gpu_is_asked_for_as_the_user_says(dying):
    asking = {job.row["name"] for job in dying.jobs if OWN_REQUEST in header(job)}
    assert asking and asking == {job.row["name"] for job in dying.jobs if can_use_a_gpu(job)}


@pytest.mark.parametrize(
    ("options", "config", "expected"),
    [
        ([], "process.queue = 'nowhere'", "invalid partition specified: nowhere"),
        (["--accelerator", "cpu"], "process.'withName:.*'.memory = 9.TB\nprocess.resourceLimits = [:]", "Memory"),
    ],
)
def test_what_slurm_refuses_ends_the_run_with_its_words(begin, options, config, expected):
    run = begin("refused", "-stub-run", *options, config=config).wait()
    assert run.process.returncode != 0
    assert expected in run.text
    # Not tried again; a task that never became a job may be missing in the trace of a run that ends of it.
    assert len(run.jobs) <= 1 and "Re-submitted" not in run.text
