"""Client of CyxWiz, which runs machine-learning jobs on a fleet.

    import cyxwiz

    with cyxwiz.Client("127.0.0.1:50051") as client:
        job = client.submit(model={"layers": [{"type": "dense", "units": 10}]}, dataset="mock://random_data")
        print(client.wait(job).metrics)

The messages and stubs of the wire are in cyxwiz.protocol.
"""

from cyxwiz.client import Client
from cyxwiz.errors import (
    Corrupt,
    CyxwizError,
    JobCancelled,
    JobEnded,
    JobFailed,
    NotFound,
    Problem,
    Refused,
    Timeout,
    Unreachable,
)
from cyxwiz.job_file import job_config
from cyxwiz.types import (
    Artifact,
    Dataset,
    Device,
    Event,
    EventKind,
    FailureCause,
    GpuPart,
    JobResult,
    JobState,
    JobStatus,
    Node,
    Plan,
    Priority,
    Reason,
    Resources,
    Submission,
)

__version__ = "0.1.0"

__all__ = [
    "Artifact", "Client", "Corrupt", "CyxwizError", "Dataset", "Device", "Event", "EventKind", "FailureCause", "JobCancelled", "JobEnded", "JobFailed",
    "JobResult", "JobState", "JobStatus", "Node", "NotFound", "Plan", "Priority", "Problem", "Reason", "Refused", "Resources",
    "Submission", "Timeout", "Unreachable", "job_config",
]
