// Settings of the scheduler that are more than a number.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/status.h"
#include "scheduler/quotas.h"

namespace cyxwiz::central {

// "ann=2": a user's weight in the fair share.
Status ReadWeights(const std::vector<std::string>& texts, std::map<std::string, double>* weights);

// "user:ann cpus=8 memory=64GiB gpus=2", "project:vision gpus=4 borrow=no".
Status ReadQuotas(const std::vector<std::string>& texts,
                  std::map<std::string, scheduler::Quota>* quotas);

}  // namespace cyxwiz::central
