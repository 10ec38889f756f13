// The Api on top of the core.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "artifacts/artifact_store.h"
#include "central/api.h"
#include "central/core.h"
#include "central/dataset_registry.h"
#include "central/event_hub.h"
#include "central/hub.h"
#include "central/log_relay.h"
#include "central/work_pool.h"
#include "security/job_token.h"
#include "spec/dataset.h"

namespace cyxwiz::central {

// None is owned; all outlive the Api.
class Past;

struct ApiParts {
  Core* core = nullptr;
  StreamHub* hub = nullptr;
  EventHub* events = nullptr;
  LogRelay* logs = nullptr;
  const security::TokenSigner* signer = nullptr;
  spec::DatasetInspector* inspector = nullptr;  // used by several threads at once
  const artifacts::ArtifactStore* artifacts = nullptr;
  DatasetRegistry* datasets = nullptr;
  std::vector<std::string> data_roots;
  WorkPool* pool = nullptr;  // checks of jobs that read files
  Past* past = nullptr;      // nullptr: no history is kept
};

std::unique_ptr<Api> MakeApi(const ApiParts& parts);

}  // namespace cyxwiz::central
