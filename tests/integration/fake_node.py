"""A node of the test's own, which does on the wire what no real node should: forgets to heartbeat, reports for old attempts."""

from __future__ import annotations

import queue
from concurrent import futures
from typing import Sequence

import grpc

from cluster import Cluster
from cyxwiz.protocol import common_pb2, job_pb2, node_pb2, node_pb2_grpc


class FakeNode(node_pb2_grpc.NodeServiceServicer):
    """Registers with the server and accepts every attempt; the test plays the rest."""

    def __init__(self, cluster: Cluster, node_id: str = "fake", cpus: int = 8, gpus: Sequence[int] = ()) -> None:
        self.cluster, self.id = cluster, node_id
        self.assigned: "queue.Queue[node_pb2.AssignJobRequest]" = queue.Queue()
        self._server = grpc.server(futures.ThreadPoolExecutor(4))
        node_pb2_grpc.add_NodeServiceServicer_to_server(self, self._server)
        self.endpoint = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()
        self.info = node_pb2.NodeInfo(
            node_id=node_id, name=node_id, endpoint=self.endpoint, ip_address="127.0.0.1",
            port=int(self.endpoint.rpartition(":")[2]), cpu_cores=cpus, ram_total=64 << 30, ram_available=64 << 30,
            devices=[common_pb2.DeviceCaps(device_type=common_pb2.DEVICE_CPU)] + [
                common_pb2.DeviceCaps(device_type=common_pb2.DEVICE_CUDA, memory_total=memory) for memory in gpus],
            capacity=job_pb2.ResourceRequest(cpu_millis=cpus * 1000, memory_bytes=64 << 30, gpus=len(gpus)),
            available=job_pb2.ResourceRequest(cpu_millis=cpus * 1000, memory_bytes=64 << 30))
        self.registration = self.register()

    def __enter__(self) -> "FakeNode":
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(0).wait()

    def AssignJob(self, request, context):
        self.assigned.put(request)
        return node_pb2.AssignJobResponse(status=common_pb2.STATUS_SUCCESS, job_id=request.job.job_id, accepted=True)

    def register(self, active=()) -> node_pb2.RegisterNodeResponse:
        return self.cluster.node_service.RegisterNode(
            node_pb2.RegisterNodeRequest(info=self.info, active_attempts=list(active)), timeout=10)

    def heartbeat(self, active=()) -> node_pb2.HeartbeatResponse:
        return self.cluster.node_service.Heartbeat(node_pb2.HeartbeatRequest(
            node_id=self.id, current_status=self.info, active_jobs=[a.job_id for a in active], active_attempts=list(active)),
            timeout=10)

    def next_assignment(self, timeout: float = 20) -> node_pb2.AssignJobRequest:
        return self.assigned.get(timeout=timeout)

    def progress(self, assignment: node_pb2.AssignJobRequest, progress: float) -> node_pb2.ReportProgressResponse:
        return self.cluster.node_service.ReportProgress(node_pb2.ReportProgressRequest(
            node_id=self.id, job_id=assignment.job.job_id, attempt=assignment.attempt,
            authorization_token=assignment.authorization_token,
            status=job_pb2.JobStatus(job_id=assignment.job.job_id, status=common_pb2.STATUS_IN_PROGRESS, progress=progress,
                                     current_epoch=1)), timeout=10)

    def complete(self, assignment: node_pb2.AssignJobRequest, status=common_pb2.STATUS_COMPLETED,
                 **fields) -> node_pb2.ReportCompletionResponse:
        return self.cluster.node_service.ReportCompletion(node_pb2.ReportCompletionRequest(
            node_id=self.id, job_id=assignment.job.job_id, attempt=assignment.attempt,
            authorization_token=assignment.authorization_token,
            result=job_pb2.JobResult(job_id=assignment.job.job_id, status=status), **fields), timeout=10)
