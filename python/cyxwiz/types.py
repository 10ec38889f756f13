"""Plain values for what the wire says of jobs and nodes."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Dict, List, Optional, Tuple

from cyxwiz.protocol import control_pb2, dataset_pb2, job_pb2, node_pb2


class JobState(enum.Enum):
    """Where a job stands. SUCCEEDED, FAILED and CANCELLED are final."""

    UNKNOWN = 0
    QUEUED = 1
    ASSIGNED = 2
    RUNNING = 3
    PAUSED = 4
    SUCCEEDED = 5
    FAILED = 6
    CANCELLED = 7

    @property
    def final(self) -> bool:
        """Whether the job will never leave this state."""
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


class FailureCause(enum.Enum):
    """Why an attempt ended badly."""

    NONE = 0
    USER_ERROR = 1
    DATA_UNAVAILABLE = 2
    OUT_OF_MEMORY = 3
    OUT_OF_GPU_MEMORY = 4
    RUNNER_CRASHED = 5
    NODE_LOST = 6
    NODE_REJECTED = 7
    CANCELLED = 8
    INTERNAL = 9
    DIVERGED = 10
    NODE_DRAINED = 11
    PREEMPTED = 12
    TIME_LIMIT = 13
    QUEUE_TIME_LIMIT = 14
    DEADLINE = 15
    DEPENDENCY_FAILED = 16
    KILLS_NODES = 17
    PEER_LOST = 18


class Priority(enum.IntEnum):
    """Jobs of a higher priority start first; among equals the older one."""

    LOW = 0
    NORMAL = 1
    HIGH = 2
    CRITICAL = 3


@dataclass(frozen=True)
class Submission:
    """An accepted job: it is durable from here on."""

    job_id: str
    #: The node that was given the job at once; empty while it waits.
    assigned_node_id: str
    #: While it waits, as in its JobStatus.
    reasons: List["Reason"] = field(default_factory=list)
    smallest_change: str = ""
    queue_position: int = 0
    #: When it starts, where that can be told.
    estimated_start: Optional[datetime] = None


@dataclass(frozen=True)
class Reason:
    """One reason why a job waits."""

    #: For programs: ``NO_NODES``, ``NOT_ENOUGH_FREE``, ...
    code: str
    message: str
    #: The nodes it holds for; empty when it holds for all.
    nodes: List[str] = field(default_factory=list)


@dataclass(frozen=True)
class Artifact:
    """A file that a job left."""

    name: str
    #: ``artifact://sha256/<hex>``
    uri: str
    #: In hex.
    sha256: str
    #: Bytes.
    size: int


@dataclass(frozen=True)
class Dataset:
    """A version of a data set that the server keeps. It never changes."""

    name: str
    version: str
    #: Of its content, in hex: equal contents have the same.
    sha256: str
    #: How many.
    files: int
    #: Bytes of all files.
    size: int
    created_at: datetime

    @property
    def uri(self) -> str:
        """What a job reads it as; parameters and a path within it may follow."""
        return f"dataset://{self.name}@{self.version}"


@dataclass(frozen=True)
class JobResult:
    """What a finished job left."""

    #: Every file, the weights (``weights.safetensors``) first.
    artifacts: List[Artifact]
    #: SHA-256 of the weights in hex.
    weights_sha256: str
    #: Of the weights, bytes.
    weights_size: int
    weights_uri: str
    metrics: Dict[str, float]
    #: Seconds.
    compute_seconds: int


@dataclass(frozen=True)
class ArrayCounts:
    """Where the members of an array stand."""

    size: int
    #: 0: no limit.
    max_parallel: int
    #: Have not started.
    waiting: int
    #: Run, are assigned, paused, or wait to be tried again.
    running: int
    succeeded: int
    failed: int
    cancelled: int


@dataclass(frozen=True)
class GpuPart:
    """What an attempt holds of one GPU of its node."""

    #: Which one of the node, from 0.
    index: int
    #: 1: all of it, and nobody shares it.
    share: float
    #: Bytes.
    memory: int


@dataclass(frozen=True)
class JobStatus:
    """Where a job stands."""

    job_id: str
    name: str
    state: JobState
    #: 0.0 to 1.0.
    progress: float
    #: The epoch in work, from 1; 0 before the first.
    epoch: int
    total_epochs: int
    #: Number of the current or last attempt; 0 before the first.
    attempt: int
    #: Failures that counted against the job's retries.
    retries: int
    priority: Priority
    #: Of the current or last attempt; empty before the first.
    node_id: str
    #: One sentence: why the job is in this state and what it waits for.
    message: str
    #: While the job waits: everything that holds it back.
    reasons: List[Reason]
    #: Last reported: ``train_loss``, ``train_accuracy``, ``validation_*``, ``test_*``, ``learning_rate``, ``samples_per_second``.
    metrics: Dict[str, float]
    #: When it happened, None while it has not.
    created_at: Optional[datetime]
    started_at: Optional[datetime]
    ended_at: Optional[datetime]
    cause: FailureCause
    #: Why it failed, for a person; empty otherwise.
    error: str
    user: str
    #: Attempts that made room for a job of a higher class.
    preemptions: int = 0
    #: Whose quota it counts to, besides that of the user.
    project: str = ""
    #: Of an array.
    array: Optional[ArrayCounts] = None
    #: Of a member: its array's id, and its number.
    array_id: str = ""
    array_number: int = 0
    #: Of a job on several nodes that runs: the node of each rank.
    rank_nodes: Tuple[str, ...] = ()
    #: While it is on a node: what it holds of its GPUs.
    gpus: Tuple[GpuPart, ...] = ()
    #: While the job waits, as in its Plan, and only from calls about this job, Client.status among them: left empty, 0 and
    #: None also where it would cost the server too much to tell; Client.explain tells it then.
    smallest_change: str = ""
    queue_position: int = 0
    estimated_start: Optional[datetime] = None
    #: Only from Client.status and Client.wait, once the job has ended.
    result: Optional[JobResult] = None

    @property
    def final(self) -> bool:
        """Whether the job has ended."""
        return self.state.final


@dataclass(frozen=True)
class Plan:
    """What keeps a job from starting and when it is expected to, by the scheduler's own code."""

    #: All that keeps it from starting now; empty when nothing does.
    reasons: List[Reason]
    #: The least that would have to change for it to start now, as a sentence; empty: nothing.
    smallest_change: str
    #: 1: it is next; 0: the job does not wait. Of arrays before it each member counts that may start now.
    queue_position: int
    jobs_queued: int
    #: Where it would start now; empty: nowhere.
    node_id: str
    #: None: not known; see estimate_basis.
    estimated_start: Optional[datetime]
    estimate_basis: str
    #: False when no node could ever hold it.
    could_ever_run: bool
    #: Running jobs of a lower class that would make room for it now, or do so.
    preempts: List[str] = field(default_factory=list)
    #: The nodes on which it would start then; of a gang also those that have room already.
    preempts_on: List[str] = field(default_factory=list)


class EventKind(enum.Enum):
    """What happened."""

    UNKNOWN = 0
    SUBMITTED = 1
    STATE_CHANGED = 2
    CANCEL_REQUESTED = 3
    PAUSE_REQUESTED = 4
    PRIORITY_CHANGED = 5
    RETRIED = 6
    DELETED = 7
    NODE_REGISTERED = 8
    NODE_LOST = 9
    NODE_CORDONED = 10
    NODE_UNCORDONED = 11
    NODE_QUARANTINED = 12
    NODE_RELEASED = 13
    PREEMPT_REQUESTED = 14
    NODE_CORDON_PLANNED = 15
    #: More than half of the nodes, and at least three, went silent at once.
    MASS_LOSS = 16
    MASS_LOSS_OVER = 17
    #: By an operator, or because it was offline for long.
    NODE_FORGOTTEN = 18


@dataclass(frozen=True)
class Event:
    """One thing that happened to a job or a node."""

    #: Grows; a position for Client.events.
    number: int
    time: datetime
    kind: EventKind
    #: Empty for an event of a node.
    job_id: str
    node_id: str
    attempt: int
    #: For SUBMITTED and STATE_CHANGED.
    from_state: JobState
    to_state: JobState
    cause: FailureCause
    message: str
    #: Who made it happen: ``"client:USER@ADDRESS"``, ``"node:ID"``, ``"server:scheduler"``, ``"server:timer"`` or
    #: ``"server:dependencies"``.
    actor: str = ""


@dataclass(frozen=True)
class Device:
    """A device of a node."""

    #: ``"cpu"``, ``"cuda"``, ...
    type: str
    name: str
    #: Bytes.
    memory_total: int
    #: Of a GPU: which one of its node, from 0, and what of its share (1: all of it) and of its memory in bytes no attempt
    #: holds.
    gpu_index: int = 0
    free_share: float = 0
    free_memory: int = 0
    uuid: str = ""
    #: The node's settings name it; its driver was not asked.
    declared: bool = False


@dataclass(frozen=True)
class Resources:
    """An amount of each resource."""

    #: Cores.
    cpus: float
    #: Bytes.
    memory: int
    #: Whole ones, that nobody shares; of what is free too.
    gpus: int
    #: Scratch space in bytes.
    disk: int = 0
    #: Of the operator's own, by name.
    named: Dict[str, int] = field(default_factory=dict)
    #: A share of one GPU instead of whole ones; of a node: what is free of those that are shared, all together.
    gpu_share: float = 0
    #: Bytes, of each GPU that is asked for; of a node: of all.
    gpu_memory: int = 0


@dataclass(frozen=True)
class Node:
    """A Server Node of the cluster."""

    node_id: str
    name: str
    endpoint: str
    online: bool
    last_heartbeat: Optional[datetime]
    cpu_cores: int
    #: What the node gives to jobs, and what of it is free.
    capacity: Resources
    available: Resources
    devices: List[Device]
    #: Ids of the jobs that run there now.
    jobs: List[str]
    jobs_completed: int
    libtorch_version: str
    #: An operator wants it to get no new attempts, and why.
    cordoned: bool = False
    draining: bool = False
    cordon_reason: str = ""
    #: When a planned cordon begins, and when the present or planned one ends by itself.
    cordon_from: Optional[datetime] = None
    cordon_until: Optional[datetime] = None
    labels: Dict[str, str] = field(default_factory=dict)
    #: Unlike jobs failed on it, and which: it gets no new attempts but now and then one to probe it.
    quarantined: bool = False
    quarantine_reason: str = ""


def _time(seconds: int) -> Optional[datetime]:
    return datetime.fromtimestamp(seconds, timezone.utc) if seconds else None


def _enum(kind, number: int, otherwise):
    # A newer server may send a number that this release does not know.
    try:
        return kind(number)
    except ValueError:
        return otherwise


def result_from_wire(result: job_pb2.JobResult) -> JobResult:
    """The JobResult of a wire message."""
    return JobResult(
        artifacts=[Artifact(a.name, a.uri, a.sha256, a.size) for a in result.artifacts],
        weights_sha256=result.model_weights_hash,
        weights_size=result.model_size,
        weights_uri=result.model_weights_uri,
        metrics=dict(result.final_metrics),
        compute_seconds=result.total_compute_time,
    )


def status_from_wire(status: job_pb2.JobStatus, result: Optional[job_pb2.JobResult] = None) -> JobStatus:
    """The JobStatus of a wire message."""
    error = status.error.message
    if status.error.details:
        error += f" ({status.error.details})"
    return JobStatus(
        job_id=status.job_id,
        name=status.name,
        state=_enum(JobState, status.state, JobState.UNKNOWN),
        progress=status.progress,
        epoch=status.current_epoch,
        total_epochs=status.total_epochs,
        attempt=status.attempt,
        retries=status.retries,
        priority=_enum(Priority, status.priority, Priority.NORMAL),
        node_id=status.current_node_id,
        message=status.message,
        reasons=[Reason(r.code, r.message, list(r.nodes)) for r in status.reasons],
        metrics=dict(status.metrics),
        created_at=_time(status.created_at),
        started_at=_time(status.start_time),
        ended_at=_time(status.end_time),
        cause=_enum(FailureCause, status.cause, FailureCause.INTERNAL),
        error=error,
        user=status.user_id,
        preemptions=status.preemptions,
        project=status.project,
        array=_array(status.array) if status.HasField("array") else None,
        array_id=status.array_id,
        array_number=status.array_number,
        rank_nodes=tuple(status.rank_nodes),
        gpus=tuple(GpuPart(part.index, part.share_millis / 1000, part.memory_bytes) for part in status.gpus),
        smallest_change=status.smallest_change,
        queue_position=status.queue_position,
        estimated_start=_time(status.estimated_start_time),
        result=result_from_wire(result) if result is not None else None,
    )


def _array(counts: job_pb2.ArrayCounts) -> ArrayCounts:
    return ArrayCounts(counts.size, counts.max_parallel, counts.waiting, counts.running, counts.succeeded, counts.failed,
                       counts.cancelled)


def submission_from_wire(response: job_pb2.SubmitJobResponse) -> Submission:
    """The Submission of a wire message."""
    return Submission(
        job_id=response.job_id,
        assigned_node_id=response.assigned_node_id,
        reasons=[Reason(r.code, r.message, list(r.nodes)) for r in response.reasons],
        smallest_change=response.smallest_change,
        queue_position=response.queue_position,
        estimated_start=_time(response.estimated_start_time),
    )


def plan_from_wire(plan: control_pb2.JobPlan) -> Plan:
    """The Plan of a wire message."""
    return Plan(
        reasons=[Reason(r.code, r.message, list(r.nodes)) for r in plan.reasons],
        smallest_change=plan.smallest_change,
        queue_position=plan.queue_position,
        jobs_queued=plan.jobs_queued,
        node_id=plan.node_id,
        estimated_start=_time(plan.estimated_start_time),
        estimate_basis=plan.estimate_basis,
        could_ever_run=plan.could_ever_run,
        preempts=list(plan.preempts),
        preempts_on=list(plan.preempts_on),
    )


def event_from_wire(event: control_pb2.Event) -> Event:
    """The Event of a wire message."""
    return Event(
        number=event.number,
        time=datetime.fromtimestamp(event.time_ms / 1000, timezone.utc),
        kind=_enum(EventKind, event.kind, EventKind.UNKNOWN),
        job_id=event.job_id,
        node_id=event.node_id,
        attempt=event.attempt,
        from_state=_enum(JobState, getattr(event, "from"), JobState.UNKNOWN),
        to_state=_enum(JobState, event.to, JobState.UNKNOWN),
        cause=_enum(FailureCause, event.cause, FailureCause.INTERNAL),
        message=event.message,
        actor=event.actor,
    )


def node_from_wire(info: node_pb2.NodeInfo) -> Node:
    """The Node of a wire message."""
    from cyxwiz.protocol import common_pb2

    def device_type(number: int) -> str:
        name = common_pb2.DeviceType.Name(number) if number in common_pb2.DeviceType.values() else f"device {number}"
        return name[len("DEVICE_"):].lower() if name.startswith("DEVICE_") else name

    def amount(r: job_pb2.ResourceRequest) -> Resources:
        return Resources(r.cpu_millis / 1000, r.memory_bytes, r.gpus, r.disk_bytes, dict(r.named),
                         r.gpu_share_millis / 1000, r.gpu_memory_bytes)

    return Node(
        node_id=info.node_id,
        name=info.name,
        endpoint=info.endpoint,
        online=info.is_online,
        last_heartbeat=_time(info.last_heartbeat),
        cpu_cores=info.cpu_cores,
        capacity=amount(info.capacity),
        available=amount(info.available),
        devices=[Device(device_type(d.device_type), d.device_name, d.memory_total, d.gpu_index,
                        d.free_share_millis / 1000, d.free_memory_bytes, d.uuid, d.declared) for d in info.devices],
        jobs=[a.job_id for a in info.attempts],
        jobs_completed=info.total_jobs_completed,
        libtorch_version=info.libtorch_version,
        cordoned=info.cordoned,
        draining=info.draining,
        cordon_reason=info.cordon_reason,
        cordon_from=_time(info.cordon_from),
        cordon_until=_time(info.cordon_until),
        labels=dict(info.labels),
        quarantined=info.quarantined,
        quarantine_reason=info.quarantine_reason,
    )


def dataset_from_wire(dataset: dataset_pb2.DatasetVersion) -> Dataset:
    return Dataset(dataset.name, dataset.version, dataset.sha256, dataset.files, dataset.size,
                   datetime.fromtimestamp(dataset.created_at, timezone.utc))
