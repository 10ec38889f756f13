"""The client of a CyxWiz cluster."""

from __future__ import annotations

import codecs
import getpass
import hashlib
import os
import random
import secrets
import time
from datetime import datetime
from pathlib import Path
from typing import Any, Callable, Iterator, List, Mapping, Optional, Sequence, Tuple, Union

import grpc

from cyxwiz import _dataset, _what_if, errors
from cyxwiz._what_if import WhatIf
from cyxwiz.job_file import JobLike, job_config
from cyxwiz.protocol import (
    common_pb2,
    control_pb2,
    control_pb2_grpc,
    dataset_pb2,
    dataset_pb2_grpc,
    deployment_pb2,
    deployment_pb2_grpc,
    job_pb2,
    job_pb2_grpc,
    log_pb2,
    log_pb2_grpc,
    node_pb2,
    node_pb2_grpc,
)
from cyxwiz.types import (
    Dataset,
    Event,
    JobState,
    JobStatus,
    Node,
    Plan,
    Priority,
    Submission,
    dataset_from_wire,
    event_from_wire,
    node_from_wire,
    plan_from_wire,
    status_from_wire,
    submission_from_wire,
)

DEFAULT_SERVER = "127.0.0.1:50051"
_PROBLEMS_KEY = "cyxwiz-submit-response-bin"

#: What names a job: its id, or anything that carries one.
JobRef = Union[str, Submission, JobStatus]


#: What names a trained model: the job that has left it, or the SHA-256 of its files by ``"model"`` and ``"weights"``.
ModelRef = Union[JobRef, Mapping[str, str]]


def _id(job: JobRef) -> str:
    return job if isinstance(job, str) else job.job_id


def _error(call: grpc.RpcError) -> errors.CyxwizError:
    """The exception for a failed call."""
    code, message = call.code(), call.details() or call.code().name
    name = code.name
    if code == grpc.StatusCode.NOT_FOUND:
        return errors.NotFound(message, name)
    if code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.ALREADY_EXISTS,
                grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.OUT_OF_RANGE,
                grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNIMPLEMENTED):
        return errors.Refused(message, name, _problems(call))
    if code == grpc.StatusCode.UNAVAILABLE:
        return errors.Unreachable(message, name)
    if code == grpc.StatusCode.DEADLINE_EXCEEDED:
        return errors.Timeout(message, name)
    return errors.CyxwizError(f"{name}: {message}", name)


def _problems(call: grpc.RpcError) -> List[errors.Problem]:
    for key, value in call.trailing_metadata() or ():
        if key == _PROBLEMS_KEY:
            response = job_pb2.SubmitJobResponse.FromString(value)
            return [errors.Problem(p.path, p.message, p.expected, p.found, p.hint) for p in response.problems]
    return []


class _Patience:
    """Keeps trying to reach the server, with growing pauses, for at most `seconds` without an answer."""

    def __init__(self, seconds: float, deadline: Optional[float]) -> None:
        self._seconds, self._deadline = seconds, deadline
        self.reset()

    def reset(self) -> None:
        self._until, self._pause = time.monotonic() + self._seconds, 0.05

    def after(self, error: errors.CyxwizError) -> None:
        """Waits a moment, or raises `error` when patience has run out."""
        until = self._until if self._deadline is None else min(self._until, self._deadline)
        left = until - time.monotonic()
        if left <= 0:
            raise error
        time.sleep(min(left, self._pause * random.uniform(0.5, 1.0)))
        self._pause = min(self._pause * 2, 2.0)


class Client:
    """Submits, follows and fetches jobs of one cluster. Use it from any number of threads.

    Args:
        server: ``host:port`` of the Central Server's gRPC side; default: ``$CYXWIZ_SERVER``, else 127.0.0.1:50051.
        timeout: seconds that one call may take. Streams (watch, wait, logs, download) have no such limit.
        patience: seconds for which watch, wait and logs keep trying to reach a server that has gone away
            (it may be restarting) before they raise Unreachable.
        credentials: TLS credentials of grpcio; default: plaintext, as ``cyxwiz up`` speaks it on loopback.

    Every method raises Unreachable when no server answers, and Timeout when the call takes longer than `timeout`.
    """

    def __init__(self, server: Optional[str] = None, *, timeout: float = 30.0, patience: float = 30.0,
                 credentials: Optional[grpc.ChannelCredentials] = None) -> None:
        self.server = server or os.environ.get("CYXWIZ_SERVER") or DEFAULT_SERVER
        self._timeout, self._patience = timeout, patience
        options = [
            # Come back quickly to a server that restarts.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 2000),
            # A proxy from the environment is never meant for a cluster's own address.
            ("grpc.enable_http_proxy", 0),
            ("grpc.max_receive_message_length", 64 << 20),
        ]
        self._closed = False
        self._channel = (grpc.secure_channel(self.server, credentials, options) if credentials
                         else grpc.insecure_channel(self.server, options))
        self._jobs = job_pb2_grpc.JobServiceStub(self._channel)
        self._nodes = node_pb2_grpc.NodeDiscoveryServiceStub(self._channel)
        self._models = deployment_pb2_grpc.ModelServiceStub(self._channel)
        self._control = control_pb2_grpc.JobControlServiceStub(self._channel)
        self._node_control = control_pb2_grpc.NodeControlServiceStub(self._channel)
        self._datasets = dataset_pb2_grpc.DatasetServiceStub(self._channel)
        self._logs = log_pb2_grpc.JobLogServiceStub(self._channel)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection; calls that are under way end with Unreachable or CyxwizError, later ones with CyxwizError."""
        self._closed = True
        self._channel.close()

    # ---- jobs ----

    def submit(self, job: Optional[JobLike] = None, **fields: Any) -> Submission:
        """Submits a job. When this returns, the job is durable: it will run.

        Args:
            job: the job in the form of a job file: a mapping, or the path of a JSON file. May be left out.
            **fields: keys of a job file, which win over `job`'s: ``model`` (mapping, or JSON text), ``hyperparameters``
                (mapping; values may be numbers, booleans or text), ``dataset`` (``mock://...``, ``file://...``, ``dataset://...``, ``https://...`` or ``s3://...``),
                ``name``, ``type``, ``priority``, ``resources``, ... as docs/reference/job-files.md has them.

        Returns:
            The job's id, and the node that was given it when one was free.

        Raises:
            Refused: something is wrong with the job; ``problems`` says everything that is.
            ValueError: the job has not the form of a job file (an unknown key, a value of the wrong kind).
        """
        config = job_config(job, **fields)
        response = self._call(self._jobs.SubmitJob, job_pb2.SubmitJobRequest(config=config))
        return submission_from_wire(response)

    def evaluate(self, model: ModelRef, data: str, *, metrics: Optional[Sequence[str]] = None, **fields: Any) -> Submission:
        """Submits a job that measures a trained model on data: the test part, or all of data that has none.

        Args:
            model: the job that has trained it, which must have succeeded; or the SHA-256 of its files,
                ``{"model": ..., "weights": ...}``.
            data: ``mock://...``, ``file://...``, ``dataset://...``, ``https://...`` or ``s3://...``, as the ``dataset`` of a job file.
            metrics: names as in a job file; default: those of the training.
            **fields: further keys of a job file: ``name``, ``priority``, ``resources``, ...

        Returns:
            The job. ``wait(job).metrics`` then has ``test_loss`` and ``test_<metric>``; on the training's own data they
            are the training's, bit for bit.

        Raises:
            Refused: the job is not known or has left no model, the data does not fit the model, ...
            ValueError: a wrong key of a job file.
        """
        if metrics is not None:
            fields["hyperparameters"] = {**fields.get("hyperparameters", {}), "metrics": list(metrics)}
        return self.submit(type="evaluation", model_from=model, dataset=data, **fields)

    def predict(self, model: ModelRef, data: str, *, output: str = "npy", **fields: Any) -> Submission:
        """Submits a job that writes what a trained model says of data: of the test part, or of all of data that has none.

        Args:
            model, data, **fields: as for evaluate.
            output: ``"npy"`` (float32, samples x the shape of an output: probabilities where the loss has them),
                ``"csv"`` or ``"jsonl"`` (with the predicted class).

        Returns:
            The job. After ``wait(job)``, ``download(job, folder)`` fetches ``predictions.<output>``.

        Raises:
            Refused, ValueError: as evaluate.
        """
        return self.submit(type="inference", model_from=model, dataset=data, output=output, **fields)

    def preprocess(self, data: str, to: str, **fields: Any) -> Submission:
        """Submits a job that reads data, splits and scales it, and stores the outcome as a version of a data set.

        Args:
            data: ``mock://...``, ``file://...``, ``dataset://...``, ``https://...`` or ``s3://...`` with the parameters of a training.
            to: the data set that is made, ``"name"`` or ``"name@version"``; without a version the server counts on.
            **fields: further keys of a job file: ``name``, ``priority``, ``resources``, ...

        Returns:
            The job; output(job) says which version it makes. A training on that one sees what it would have seen in
            `data`, bit for bit. ``download(job, folder)`` fetches the files.

        Raises:
            Refused: a name or a parameter is wrong.
            ValueError: a wrong key of a job file.
        """
        return self.submit(type="preprocessing", dataset=data, output_dataset=to, **fields)

    def output(self, job: JobRef) -> str:
        """The data set that a preprocessing makes, as a URI for jobs to read once it has succeeded. Raises NotFound.

        Empty for jobs of other types.
        """
        response = self._call(self._jobs.GetJobStatus, job_pb2.GetJobStatusRequest(job_id=_id(job)))
        return f"dataset://{response.config.output_dataset}" if response.config.output_dataset else ""

    def status(self, job: JobRef) -> JobStatus:
        """Where the job stands now, with its result once it has ended. Raises NotFound."""
        response = self._call(self._jobs.GetJobStatus, job_pb2.GetJobStatusRequest(job_id=_id(job)))
        return status_from_wire(response.status, response.result if response.HasField("result") else None)

    def watch(self, job: JobRef, timeout: Optional[float] = None) -> Iterator[JobStatus]:
        """The job's status now and at every change, until it has ended; the last one is final.

        The server pushes; nothing polls. Survives a restart of the server (see `patience`).

        Args:
            timeout: seconds until Timeout is raised; None waits as long as it takes.

        Raises:
            NotFound, Timeout, Unreachable.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        request = job_pb2.GetJobStatusRequest(job_id=_id(job))
        patience = _Patience(self._patience, deadline)
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            stream = self._start(self._jobs.StreamJobUpdates, request, timeout=left)
            try:
                for update in stream:
                    patience.reset()
                    status = status_from_wire(update.status)
                    yield status
                    if status.final:
                        return
                patience.after(errors.Unreachable(f"{self.server}: the stream of job {_id(job)} ended before the job did"))
            except grpc.RpcError as call:
                if call.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
                    raise errors.Timeout(f"job {_id(job)} has not ended within {timeout} s", "DEADLINE_EXCEEDED") from None
                error = _error(call)
                if not isinstance(error, errors.Unreachable):
                    raise error from None
                patience.after(error)
            finally:
                stream.cancel()

    def wait(self, job: JobRef, timeout: Optional[float] = None, check: bool = True) -> JobStatus:
        """Waits until the job has ended.

        Args:
            timeout: seconds; None waits as long as it takes.
            check: whether to raise JobFailed or JobCancelled when it ended otherwise than with success.

        Returns:
            The final status, with the result.

        Raises:
            NotFound, Timeout, Unreachable, JobFailed, JobCancelled.
        """
        for _ in self.watch(job, timeout):
            pass
        status = self.status(job)
        if check and status.state is JobState.FAILED:
            raise errors.JobFailed(f"job {status.job_id} failed: {status.error or status.message}", status)
        if check and status.state is JobState.CANCELLED:
            raise errors.JobCancelled(f"job {status.job_id} was cancelled: {status.message}", status)
        return status

    def jobs(self, *, user: str = "", array: str = "", page_size: int = 100) -> Iterator[JobStatus]:
        """All jobs, newest first; fetched page by page as the iterator goes on.

        Args:
            user: only this user's.
            array: id of an array: its members that have started, instead of jobs that are no members.
            page_size: jobs a call, 1 to 1000.
        """
        yield from (status_from_wire(s) for s in self._pages(
            self._jobs.ListJobs, lambda token: job_pb2.ListJobsRequest(
                user_id=user, array_id=array, page_size=page_size, page_token=token),
            "jobs"))

    def cancel(self, job: JobRef, reason: str = "") -> None:
        """Asks that the job be cancelled. A running job has ended only once its processes are gone: see wait().

        Raises NotFound; Refused when the job has already ended.
        """
        self._call(self._jobs.CancelJob, job_pb2.CancelJobRequest(job_id=_id(job), reason=reason))

    def cancel_jobs(self, *, user: str = "", project: str = "", type: str = "", pending_only: bool = False,
                    running_only: bool = False, all: bool = False, reason: str = "") -> int:
        """Cancels every job that fits, in one transaction, after every submit that was answered before.

        Args:
            user: only this user's jobs.
            project: only this project's.
            type: only ``"training"``, ``"inference"``, ``"evaluation"`` or ``"preprocessing"``.
            pending_only, running_only: only jobs that wait, or only those that run.
            all: must be true when no filter is given.

        Returns:
            How many jobs ended at once or end with their processes.
        """
        if pending_only and running_only:
            raise ValueError("pending_only and running_only exclude each other")
        if type and f"JOB_TYPE_{type.upper()}" not in job_pb2.JobType.keys():
            raise ValueError(f"type: expected training, inference, evaluation or preprocessing, found {type!r}")
        job_type = job_pb2.JobType.Value(f"JOB_TYPE_{(type or 'unknown').upper()}")
        status = (common_pb2.STATUS_PENDING if pending_only
                  else common_pb2.STATUS_IN_PROGRESS if running_only else common_pb2.STATUS_UNKNOWN)
        response = self._call(self._control.CancelJobs,
                              control_pb2.CancelJobsRequest(user_id=user, project=project, job_type=job_type,
                                                            status=status, all=all, reason=reason))
        return response.cancelled + response.cancelling

    def pause(self, job: JobRef) -> JobStatus:
        """Takes a job out of the queue until it is resumed; a running one is paused once its processes have ended.

        Raises NotFound; Refused when the job has ended.
        """
        response = self._call(self._control.PauseJob, control_pb2.PauseJobRequest(job_id=_id(job)))
        return status_from_wire(response.status)

    def resume(self, job: JobRef) -> JobStatus:
        """Puts a paused job back into the queue. Raises NotFound; Refused while it is still pausing."""
        response = self._call(self._control.ResumeJob, control_pb2.ResumeJobRequest(job_id=_id(job)))
        return status_from_wire(response.status)

    def retry(self, job: JobRef) -> JobStatus:
        """Submits a failed or cancelled job again; the answer is the new job. Raises NotFound, Refused."""
        response = self._call(self._control.RetryJob, control_pb2.RetryJobRequest(job_id=_id(job)))
        return status_from_wire(response.status)

    def set_priority(self, job: JobRef, priority: Priority) -> JobStatus:
        """Changes the priority of a job that waits or runs. Raises NotFound; Refused when it has ended."""
        response = self._call(self._control.SetJobPriority,
                              control_pb2.SetJobPriorityRequest(job_id=_id(job), priority=int(priority)))
        return status_from_wire(response.status)

    def explain(self, job: JobRef, *, more_nodes: int = 0, what_if: Optional[WhatIf] = None,
                at: Optional[float] = None) -> Plan:
        """Why a job waits, what would start it, its place in the queue and its expected start.

        Args:
            more_nodes: the same for a fleet with so many more nodes, each like the largest one; nothing is changed.
            what_if: instead of more_nodes, also what each of them has: ``{"nodes": 1, "cpus": 16, "memory": "32GiB",
                "gpus": 2, "gpu_memory": "80GiB"}``, where the rest is as of the largest node.
            at: what the answer was at that moment, in seconds since 1970, as far as the server keeps history.

        Raises:
            NotFound; Refused when there is no history of that moment; ValueError for another form of what_if.
        """
        if more_nodes and what_if is not None:
            raise ValueError("more_nodes and what_if say the same thing: leave one out")
        request = control_pb2.ExplainJobRequest(job_id=_id(job), at_ms=round((at or 0) * 1000),
                                                what_if=_what_if.to_wire(what_if or {"nodes": more_nodes}))
        return plan_from_wire(self._call(self._control.ExplainJob, request))

    def plan(self, job: Optional[JobLike] = None, *, what_if: Optional[WhatIf] = None, **fields: Any) -> Plan:
        """What would become of a job if it were submitted now (arguments as for submit); nothing is changed.

        Args:
            what_if: as for explain.

        Raises Refused and ValueError as submit does.
        """
        request = control_pb2.PlanJobRequest(config=job_config(job, **fields), what_if=_what_if.to_wire(what_if or {}))
        return plan_from_wire(self._call(self._control.PlanJob, request).plan)

    def events(self, job: Optional[JobRef] = None, *, node: str = "", after: int = 0,
               follow: bool = False) -> Iterator[Event]:
        """What happened to a job, to a node or, with neither, to everything, oldest first.

        Args:
            after: only events with a greater number; the last number seen, to go on from there. Refused
                (``OUT_OF_RANGE``) when some of these are no longer kept: the error says from where on they are.
            follow: go on with what happens from now on. Survives a restart of the server (see `patience`).

        Raises:
            NotFound, Unreachable.
        """
        request = control_pb2.ListEventsRequest(job_id="" if job is None else _id(job), node_id=node, after=after,
                                                page_size=1000)
        if not follow:
            while True:
                response = self._call(self._control.ListEvents, request)
                yield from (event_from_wire(event) for event in response.events)
                if not response.next_after:
                    return
                request.after = response.next_after
        patience = _Patience(self._patience, None)
        while True:
            stream = self._start(self._control.FollowEvents, request)
            try:
                for event in stream:
                    patience.reset()
                    request.after = event.number
                    yield event_from_wire(event)
                patience.after(errors.Unreachable(f"{self.server}: the stream of events ended"))
            except grpc.RpcError as call:
                error = _error(call)
                if call.code() == grpc.StatusCode.RESOURCE_EXHAUSTED:
                    continue  # we were too slow: go on from where we are
                if not isinstance(error, errors.Unreachable):
                    raise error from None
                patience.after(error)
            finally:
                stream.cancel()

    def delete(self, job: JobRef) -> None:
        """Forgets a job that has ended. Raises NotFound; Refused while it has not ended."""
        self._call(self._jobs.DeleteJob, job_pb2.DeleteJobRequest(job_id=_id(job)))

    def logs(self, job: JobRef, *, follow: bool = False, attempt: int = 0, rank: int = 0) -> Iterator[str]:
        """The log of an attempt, line by line without the line ends.

        When the node that keeps it is away, the last lines of an attempt that has ended, which the server has kept.

        Args:
            follow: go on with what is written until the attempt has ended.
            attempt: its number; 0 means the current or last one.
            rank: whose log, of a job on several nodes; other ranks than 0 only of the last attempt.

        Raises:
            NotFound, Unreachable; Refused where a rank of an earlier attempt is asked for.
        """
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        offset, rest = 0, ""
        patience = _Patience(self._patience if follow else 0, None)
        while True:
            stream = self._start(
                self._logs.ReadLog,
                log_pb2.ReadLogRequest(job_id=_id(job), attempt=attempt, offset=offset, follow=follow, rank=rank))
            try:
                for chunk in stream:
                    patience.reset()
                    attempt = chunk.attempt or attempt
                    offset = chunk.offset + len(chunk.data)
                    *lines, rest = (rest + decoder.decode(chunk.data)).split("\n")
                    yield from lines
                break
            except grpc.RpcError as call:
                error = _error(call)
                if not isinstance(error, errors.Unreachable):
                    raise error from None
                patience.after(error)
            finally:
                stream.cancel()
        rest += decoder.decode(b"", True)
        if rest:
            yield rest

    def download(self, job: JobRef, directory: Union[str, "os.PathLike[str]"]) -> List[Path]:
        """Fetches every file that the job left into `directory`, which is made when missing.

        Each file is checked against the size and SHA-256 of the job's result and appears under its name only when
        whole and right; one that is already there and right is not fetched again.

        Returns:
            The files' paths, the weights first.

        Raises:
            NotFound: no such job, or it left no files.
            Corrupt: what arrived is not what the job left.
        """
        status = self.status(job)
        if status.result is None or not status.result.artifacts:
            raise errors.NotFound(f"job {status.job_id} is {status.state.name} and has left no files", "NOT_FOUND")
        folder = Path(directory)
        folder.mkdir(parents=True, exist_ok=True)
        paths = []
        for artifact in status.result.artifacts:
            name = artifact.name
            # The name comes from another machine: it must not lead out of the folder.
            if not name or name in (".", "..") or "/" in name or "\\" in name or "\0" in name:
                raise errors.Corrupt(f"job {status.job_id} has a file with the unsafe name {name!r}")
            paths.append(folder / name)
            if not _is(paths[-1], artifact.sha256, artifact.size):
                self._fetch(status.job_id, name, artifact.sha256, artifact.size, paths[-1])
        return paths

    def _fetch(self, job_id: str, name: str, sha256: str, size: int, path: Path) -> None:
        digest, received = hashlib.sha256(), 0
        partial = path.with_name(f".{name}.{secrets.token_hex(6)}.partial")
        try:
            with partial.open("xb") as out:
                stream = self._start(self._models.DownloadModel,
                                     deployment_pb2.DownloadModelMetadataRequest(model_id=job_id, file=name))
                try:
                    for chunk in stream:
                        out.write(chunk.data)
                        digest.update(chunk.data)
                        received += len(chunk.data)
                        if received > size:
                            stream.cancel()
                            break
                except grpc.RpcError as call:
                    raise _error(call) from None
                out.flush()
                os.fsync(out.fileno())
            if received != size or digest.hexdigest() != sha256:
                raise errors.Corrupt(f"{name} of job {job_id}: expected {size} bytes with SHA-256 {sha256}, "
                                     f"received {received} bytes with SHA-256 {digest.hexdigest()}; download again")
            os.replace(partial, path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise

    # ---- data sets ----

    def put_dataset(self, path: Union[str, "os.PathLike[str]"], name: str = "", version: str = "", *,
                    progress: Optional[Callable[[int, int], None]] = None) -> Dataset:
        """Stores a file or a folder as a version of a data set, for jobs to read as ``dataset://name@version``.

        Files that the server has, under whatever name, are not sent again; after a break the same call goes on. What is
        hidden (``.git``) is left out.

        Args:
            path: the file or the folder.
            name: default: as the path is called, without the end of a file's name.
            version: default: the newest one when that has this content, else the next number.
            progress: called with the bytes sent so far and those to send.

        Raises:
            Refused: a name, version or path is not usable, the version is there with another content, or a file has
                changed while it was sent.
            FileNotFoundError, ValueError: there is no such file, or something in the folder is none.
        """
        folder, paths = _dataset.find_files(Path(path))
        request = dataset_pb2.PutDatasetRequest(name=name or Path(path).resolve().stem, version=version,
                                                files=[_dataset.describe(folder, p) for p in paths])
        for _ in range(5):  # what was there may go when a version with it is removed meanwhile
            response = self._call(self._datasets.PutDataset, request)
            if response.HasField("dataset"):
                return dataset_from_wire(response.dataset)
            missing = {request.files[i].sha256: request.files[i] for i in response.missing}
            sent, total = 0, sum(file.size for file in missing.values())
            for file in missing.values():
                try:
                    self._start(self._models.UploadModel, _dataset.chunks(folder, file))
                except grpc.RpcError as call:
                    if call.code() == grpc.StatusCode.DATA_LOSS:
                        raise errors.Refused(f"{folder / file.path} has changed while it was sent", "DATA_LOSS") from None
                    raise _error(call) from None
                sent += file.size
                if progress:
                    progress(sent, total)
        raise errors.Unreachable("files of the data set go missing on the server again and again", "UNAVAILABLE")

    def list_datasets(self, name: str = "") -> List[Dataset]:
        """The versions of a data set, the newest first; of all data sets without a name. Raises NotFound."""
        return [dataset_from_wire(d) for d in self._pages(
            self._datasets.ListDatasets, lambda token: dataset_pb2.ListDatasetsRequest(name=name, page_token=token),
            "datasets")]

    def remove_dataset(self, dataset: Union[Dataset, str]) -> None:
        """Removes a version of a data set, and the files that no other one has.

        Args:
            dataset: what put_dataset and list_datasets give, or ``"name@version"``.

        Raises:
            NotFound; Refused while jobs that have not ended need it.
        """
        name, _, version = (dataset.partition("@") if isinstance(dataset, str)
                            else (dataset.name, "@", dataset.version))
        self._call(self._datasets.RemoveDataset, dataset_pb2.RemoveDatasetRequest(name=name, version=version))

    # ---- nodes ----

    def nodes(self, *, online_only: bool = False) -> List[Node]:
        """The cluster's nodes."""
        return [node_from_wire(info) for info in self._pages(
            self._nodes.ListNodes, lambda token: node_pb2.ListNodesRequest(page_token=token, online_only=online_only),
            "nodes")]

    def cordon(self, node: str, *, drain: bool = False, reason: str = "", begin: Optional[datetime] = None,
               end: Optional[datetime] = None) -> Node:
        """Gives a node no new attempts; with `drain` those it has go back into the queue, not counted as failures.

        Args:
            begin: when it begins by itself; None: now.
            end: when it ends by itself; None: uncordon() ends it.
        """
        response = self._call(self._node_control.CordonNode,
                              control_pb2.CordonNodeRequest(
                                  node_id=node, drain=drain, reason=reason, until=int(end.timestamp()) if end else 0,
                                  **({"from": int(begin.timestamp())} if begin else {})))
        return node_from_wire(response.info)

    def uncordon(self, node: str) -> Node:
        """Gives a node attempts again."""
        response = self._call(self._node_control.UncordonNode, control_pb2.UncordonNodeRequest(node_id=node))
        return node_from_wire(response.info)

    def forget_node(self, node: str) -> None:
        """Makes the server forget a node that is offline and has no attempts; it may register again.

        Raises:
            NotFound; Refused while it is online or has attempts.
        """
        self._call(self._node_control.ForgetNode, control_pb2.ForgetNodeRequest(node_id=node))

    # ---- calls ----

    def _call(self, method: Callable[..., Any], request: Any) -> Any:
        try:
            return self._start(method, request, timeout=self._timeout)
        except grpc.RpcError as call:
            raise _error(call) from None

    def _start(self, method: Callable[..., Any], request: Any, **options: Any) -> Any:
        try:
            return method(request, metadata=_WHO, **options)
        except ValueError:  # grpcio's way to say that the channel is closed
            if self._closed:
                raise errors.CyxwizError("this client is closed; make a new one", "CANCELLED") from None
            raise

    def _pages(self, method: Callable[..., Any], request: Callable[[str], Any], items: str) -> Iterator[Any]:
        token = ""
        while True:
            response = self._call(method, request(token))
            yield from getattr(response, items)
            token = response.next_page_token
            if not token:
                return


def _who() -> List[Tuple[str, str]]:
    """Who asks, for the server's history: the user of this process, where the system has a plain name for it."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        return []
    return [("cyxwiz-user", user)] if user.isascii() and user.isprintable() and " " not in user else []


_WHO = _who()


def _is(path: Path, sha256: str, size: int) -> bool:
    """Whether `path` is a file of this size and SHA-256."""
    try:
        if not path.is_file() or path.stat().st_size != size:
            return False
        digest = hashlib.sha256()
        with path.open("rb") as file:
            for block in iter(lambda: file.read(1 << 20), b""):
                digest.update(block)
        return digest.hexdigest() == sha256
    except OSError:
        return False
