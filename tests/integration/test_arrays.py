"""Arrays and sweeps with the real programs."""

import json

import grpc

from cluster import job, long_job
from cyxwiz.protocol import job_pb2


def test_a_sweep_trains_each_combination(shared):
    id = shared.submit(job(sweep={"learning_rate": [0.1, 0.01], "optimizer": ["sgd", "adam"]})).job_id
    status = shared.succeed(id).status
    counts = status.array
    assert (counts.size, counts.succeeded, counts.waiting, counts.running) == (4, 4, 0, 0)
    members = shared.list_jobs(array_id=id)
    assert sorted(m.job_id for m in members) == [f"{id}.{i}" for i in range(4)]
    assert all(m.array_id == id and m.state == job_pb2.JOB_STATE_SUCCEEDED for m in members)
    assert id in [j.job_id for j in shared.list_jobs()] and f"{id}.0" not in [j.job_id for j in shared.list_jobs()]
    last = shared.get(f"{id}.3")
    assert last.config.hyperparameters["learning_rate"] == "0.01" and last.config.hyperparameters["optimizer"] == "adam"
    weights = {shared.get(f"{id}.{i}").result.model_weights_hash for i in range(4)}
    assert len(weights) == 4, "four different trainings"


def test_members_of_an_array_have_seeds_of_their_own_and_start_in_turn(shared):
    id = shared.submit(job(array={"size": 3, "max_parallel": 1}, hyperparameters={"seed": "40"})).job_id
    assert shared.status(f"{id}.2").state == job_pb2.JOB_STATE_QUEUED, "told before it has become a job"
    shared.succeed(id)
    assert [shared.get(f"{id}.{i}").config.hyperparameters["seed"] for i in range(3)] == ["40", "41", "42"]


def test_a_million_members_are_accepted_and_a_milliard_refused(shared):
    id = shared.submit(long_job(array=1_000_000)).job_id
    shared.wait_running(f"{id}.0")
    counts = shared.status(id).array
    assert counts.size == 1_000_000 and counts.waiting > 999_000 and counts.running > 0
    done = shared.cli("ps")
    assert "waiting" in done.stdout and f"{id}.0" not in done.stdout
    assert f"{id}.0" in shared.cli("ps", "--array", id).stdout
    assert shared.cli("cancel", id).returncode == 0
    status = shared.wait(id)
    assert status.state == job_pb2.JOB_STATE_CANCELLED and status.array.running == 0
    refusal = shared.refusal(job(array=1_000_000_000))
    assert refusal.code == grpc.StatusCode.INVALID_ARGUMENT
    assert "1000000 members" in refusal.text()


def test_a_wrong_value_of_a_sweep_is_told_with_its_member(shared):
    refusal = shared.refusal(job(sweep={"learning_rate": [0.1, -1]}))
    assert refusal.problems[0].message.startswith("member 1: ")


def test_submit_an_array_by_the_command_line(shared, tmp_path):
    path = tmp_path / "job.json"
    path.write_text(json.dumps({"model": {"layers": [{"type": "dense", "units": 10}]}, "dataset": "mock://random_data",
                                "hyperparameters": {"epochs": 1}}))
    done = shared.cli("submit", str(path), "--array", "3", "--max-parallel", "2", "--json")
    assert done.returncode == 0, done.stderr
    id = json.loads(done.stdout)["job_id"]
    assert shared.succeed(id).status.array.size == 3
    assert "3: 3 succeeded" in shared.cli("status", id).stdout
    assert shared.cli("delete", id).returncode == 0
    assert shared.cli("status", f"{id}.1").returncode != 0
