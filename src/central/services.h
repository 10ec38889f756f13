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
#include "central/metrics.h"
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
  Metrics* metrics = nullptr;
  std::string database;  // path of the store's file; backups are made beside it
  int64_t max_artifact_bytes = 0;
  Duration heartbeat_interval = std::chrono::seconds(2);  // told to nodes
  Duration lease = std::chrono::seconds(10);  // control's; nodes stop their attempts earlier
};

// A service with its full name, for its health.
struct NamedService {
  std::unique_ptr<grpc::Service> service;
  const char* name;
};

NamedService MakeJobService(const ServiceParts& parts);
NamedService MakeNodeService(const ServiceParts& parts);
NamedService MakeJobStatusService(const ServiceParts& parts);
NamedService MakeDiscoveryService(const ServiceParts& parts);
NamedService MakeModelService(const ServiceParts& parts);
NamedService MakeLogService(const ServiceParts& parts);
NamedService MakeJobControlService(const ServiceParts& parts);
NamedService MakeNodeControlService(const ServiceParts& parts);
NamedService MakeDatasetService(const ServiceParts& parts);
NamedService MakeAdminService(const ServiceParts& parts);
// Served by a later release; each method answers UNIMPLEMENTED with a sentence.
NamedService MakeDeploymentService();
NamedService MakeTerminalService();

}  // namespace cyxwiz::central
