// The part of the Api about data sets that the server keeps.
#pragma once

#include "central/api.h"
#include "central/core.h"
#include "central/dataset_pieces.h"
#include "central/dataset_registry.h"
#include "central/work_pool.h"

namespace cyxwiz::central {

// Any thread. Methods are those of Api.
class DatasetApi {
 public:
  // None is owned.
  DatasetApi(Core* core, DatasetRegistry* registry, WorkPool* pool)
      : core_(core), registry_(registry), pool_(pool), pieces_(registry->store()) {}

  void Put(const protocol::PutDatasetRequest& request, Done<protocol::PutDatasetResponse> done);
  void StorePiece(DatasetPiece piece, Done<DatasetPieceStored> done);
  void List(const protocol::ListDatasetsRequest& request,
            Done<protocol::ListDatasetsResponse> done);
  void Remove(const protocol::RemoveDatasetRequest& request,
              Done<protocol::RemoveDatasetResponse> done);

 private:
  Core* const core_;
  DatasetRegistry* const registry_;
  WorkPool* const pool_;
  DatasetPieces pieces_;
};

}  // namespace cyxwiz::central
