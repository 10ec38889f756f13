"""What clients asked and were told, and whether what is stored in the end agrees with it.

Each call is `ok` (acknowledged), `failed` (refused: it must have had no effect) or `unknown` (no answer: both are right).
"""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Dict, List, Set

import grpc

from cluster import BIN, FINAL as FINAL_STATES, Cluster, job
from cyxwiz.protocol import control_pb2, job_pb2

FINAL = {"Succeeded", "Failed", "Cancelled"}
LEGAL = {
    "Queued": {"Assigned", "Cancelled", "Paused", "Failed"},
    "Assigned": {"Running", "Queued", "Succeeded", "Failed", "Cancelled", "Paused"},
    "Running": {"Succeeded", "Failed", "Queued", "Cancelled", "Paused"},
    "Paused": {"Queued", "Cancelled", "Failed"},
}
UNKNOWN = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED,
           grpc.StatusCode.UNKNOWN}


class History:
    """Calls of any number of threads. A job that is not acknowledged is asked for again by `settle`."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._lock = threading.Lock()
        self.submits: Dict[str, str] = {}
        self.cancels: Dict[str, str] = {}
        self.pauses: Dict[str, str] = {}
        self.priorities: Dict[str, Set[int]] = {}  # which the job may have, by what was answered
        self._configs: Dict[str, job_pb2.JobConfig] = {}

    def submit(self, job_id: str, config: job_pb2.JobConfig = None, timeout: float = 5) -> str:
        config = config or job()
        config.job_id = job_id
        self._configs[job_id] = config
        return self._call(self.submits, job_id, lambda: self.cluster.jobs.SubmitJob(
            job_pb2.SubmitJobRequest(config=config), timeout=timeout))

    def cancel(self, job_id: str, timeout: float = 5) -> str:
        return self._call(self.cancels, job_id, lambda: self.cluster.jobs.CancelJob(
            job_pb2.CancelJobRequest(job_id=job_id), timeout=timeout))

    def pause(self, job_id: str, timeout: float = 5) -> str:
        return self._call(self.pauses, job_id, lambda: self.cluster.control.PauseJob(
            control_pb2.PauseJobRequest(job_id=job_id), timeout=timeout))

    def resume(self, job_id: str, timeout: float = 5) -> str:
        return self._call({}, job_id, lambda: self.cluster.control.ResumeJob(
            control_pb2.ResumeJobRequest(job_id=job_id), timeout=timeout))

    def set_priority(self, job_id: str, priority: int, timeout: float = 5) -> str:
        """One thread at a time for a job, which must have been acknowledged."""
        outcome = self._call({}, job_id, lambda: self.cluster.control.SetJobPriority(
            control_pb2.SetJobPriorityRequest(job_id=job_id, priority=priority), timeout=timeout))
        before = self.priorities.get(job_id, {self._configs[job_id].priority})
        self.priorities[job_id] = {"ok": {priority}, "unknown": before | {priority}, "failed": before}[outcome]
        return outcome

    def _call(self, outcomes: Dict[str, str], job_id: str, call) -> str:
        with self._lock:
            before = outcomes.get(job_id)
            if before != "ok":
                outcomes[job_id] = "unknown"
        try:
            call()
            outcome = "ok"
        except grpc.RpcError as error:
            outcome = "unknown" if error.code() in UNKNOWN or before == "unknown" else "failed"
        with self._lock:
            if outcomes[job_id] != "ok":
                outcomes[job_id] = outcome
        return outcome

    def settle(self, timeout: float = 60) -> None:
        """Asks again for what is unknown, under the same ids, until it is acknowledged; waits for the end of every job."""
        deadline = time.monotonic() + timeout
        for job_id in [j for j, outcome in self.submits.items() if outcome == "unknown"]:
            while self.submit(job_id, self._configs[job_id]) != "ok":
                left = deadline - time.monotonic()
                assert left > 0, f"submitting {job_id} is never acknowledged"
                grpc.channel_ready_future(self.cluster.channel).result(left)
        for job_id in self.pauses:  # all at once: they need not wait for each other
            self.resume(job_id)
        for job_id, outcome in self.submits.items():
            if outcome != "ok":
                continue
            rests = FINAL_STATES | {job_pb2.JOB_STATE_PAUSED} if job_id in self.pauses else FINAL_STATES
            while True:
                left = max(0.1, deadline - time.monotonic())
                if self.cluster.wait(job_id, lambda s: s.state in rests, timeout=left).state in FINAL_STATES:
                    break
                self.resume(job_id)

    def check(self, folder: Path) -> List[dict]:
        """Of a cluster whose jobs have all ended: compares the history of the server with this one. Returns its attempts."""
        path = folder / "history.jsonl"
        tool("export", "--server", self.cluster.address, "-o", path)
        records = defaultdict(list)
        for line in path.read_text().splitlines():
            record = json.loads(line)
            records[record["record"]].append(record)
        jobs = {}
        for one in records["job"]:
            assert one["job"] not in jobs, f"job {one['job']} is there twice"
            jobs[one["job"]] = one
        for job_id, outcome in self.submits.items():
            assert outcome != "ok" or job_id in jobs, f"job {job_id} was acknowledged and is lost"
            assert outcome != "failed" or job_id not in jobs, f"job {job_id} was refused and is there"
        assert set(jobs) <= set(self.submits), f"jobs that nobody submitted: {set(jobs) - set(self.submits)}"
        states = {job_id: "Queued" for job_id in jobs}
        ends: Dict[str, List[str]] = defaultdict(list)
        for event in records["event"]:
            if "to" not in event or "from" not in event:
                continue
            job_id, before, after = event["job"], event["from"], event["to"]
            assert states[job_id] == before, f"{event}: the state was {states[job_id]}"
            assert after in LEGAL[before], f"{event}: no such transition"
            states[job_id] = after
            if after in FINAL:
                ends[job_id].append(after)
        for job_id, one in jobs.items():
            assert one["state"] == states[job_id], f"{one}: by its events it is {states[job_id]}"
            assert len(ends[job_id]) == 1 and one["state"] in FINAL, f"{one} ended {ends[job_id]}"
            assert one["state"] == "Succeeded" or job_id in self.cancels, f"{one} has not succeeded"
            assert (one["state"] == "Succeeded") == bool(one["artifacts"]), one
        for job_id, outcome in self.cancels.items():
            # One that was about to end when it was cancelled may have succeeded.
            assert outcome != "ok" or jobs[job_id]["state"] in ("Cancelled", "Succeeded"), f"the cancel of {job_id} was lost"
        for job_id, priorities in self.priorities.items():
            names = {job_pb2.JobPriority.Name(one) for one in priorities}
            assert jobs[job_id]["priority"] in names, f"{jobs[job_id]}: its priority must be of {names}"
        last: Dict[str, dict] = {}
        for attempt in records["attempt"]:
            before = last.get(attempt["job"])
            if before is not None:
                assert before["attempt"] < attempt["attempt"], f"numbers of attempts: {before}, {attempt}"
                assert before["ended_ms"] <= attempt["assigned_ms"], f"two at a time: {before}, {attempt}"
            last[attempt["job"]] = attempt
        return records["attempt"]


def tool(*arguments: object) -> str:
    """A command of cyxwiz-central-server that must succeed."""
    done = subprocess.run([str(BIN / "cyxwiz-central-server"), *map(str, arguments)], capture_output=True, text=True,
                          timeout=60)
    assert done.returncode == 0, done
    return done.stdout
