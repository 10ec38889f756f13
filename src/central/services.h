// The gRPC services of the Central Server: thin translations between gRPC calls and the Api or the
// core. Errors are gRPC status codes; only the answers to nodes' reports and to AssignJob tell a
// refusal in the message. No call holds a thread while it waits.
#pragma once

#include <grpcpp/impl/codegen/service_type.h>

#include <memory>
#include <string>

#include "artifacts/artifact_store.h"
#include "base/clock.h"
#include "central/api.h"
#include "central/core.h"
#include "central/dataset_registry.h"
#include "central/log_relay.h"
#include "central/node_channels.h"
#include "central/node_sessions.h"
#include "central/work_pool.h"
#include "security/job_token.h"

namespace cyxwiz::central {

// What the services stand on. Nothing is owned; all outlives the services.
struct ServiceParts {
  Api* api = nullptr;
  Core* core = nullptr;
  LogRelay* logs = nullptr;
  NodeChannels* channels = nullptr;
  NodeSessions* sessions = nullptr;
  artifacts::ArtifactStore* artifacts = nullptr;
  artifacts::ArtifactStore* checkpoints = nullptr;  // parts of checkpoints: deleted when not needed
  DatasetRegistry* datasets = nullptr;
  const security::TokenSigner* signer = nullptr;
  WorkPool* pool = nullptr;
  std::string database;  // path of the store's file; backups are made beside it
  int64_t max_artifact_bytes = 0;
  Duration heartbeat_interval = std::chrono::seconds(2);  // told to nodes
  Duration lease = std::chrono::seconds(10);  // control's; nodes stop their attempts earlier
};

std::unique_ptr<grpc::Service> MakeJobService(const ServiceParts& parts);
std::unique_ptr<grpc::Service> MakeNodeService(const ServiceParts& parts);
std::unique_ptr<grpc::Service> MakeJobStatusService(const ServiceParts& parts);
std::unique_ptr<grpc::Service> MakeDiscoveryService(const ServiceParts& parts);
std::unique_ptr<grpc::Service> MakeModelService(const ServiceParts& parts);
std::unique_ptr<grpc::Service> MakeLogService(const ServiceParts& parts);
std::unique_ptr<grpc::Service> MakeJobControlService(const ServiceParts& parts);
std::unique_ptr<grpc::Service> MakeNodeControlService(const ServiceParts& parts);
std::unique_ptr<grpc::Service> MakeDatasetService(const ServiceParts& parts);
std::unique_ptr<grpc::Service> MakeAdminService(const ServiceParts& parts);
// Served by a later release; each method answers UNIMPLEMENTED with a sentence.
std::unique_ptr<grpc::Service> MakeDeploymentService();
std::unique_ptr<grpc::Service> MakeTerminalService();

}  // namespace cyxwiz::central
