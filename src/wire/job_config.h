// The wire's JobConfig as the job description that src/spec checks and the runner receives.
#pragma once

#include "base/resources.h"
#include "cyxwiz/protocol/job.pb.h"
#include "spec/job_file.h"
#include "spec/job_spec.h"

namespace cyxwiz {

// Copies every field that says what the job does; ids, priority, retries and the fields that this
// project ignores stay behind. Checks nothing: that is spec::CheckJob's part.
spec::JobDescription DescriptionFromConfig(const protocol::JobConfig& config);

// Sets model_from and output, as the description has them.
void WriteModelUse(const spec::JobDescription& job, protocol::JobConfig* config);

// The config that submits a job file. Numbers too large for the wire become the largest it can
// hold, which CheckJob refuses.
protocol::JobConfig ConfigFromJobFile(const spec::JobFile& file);

// What the job asks for besides its work. Checks nothing: that is spec::CheckJobTerms's part.
spec::JobTerms TermsFromConfig(const protocol::JobConfig& config);

// The array that it is; one without members when it is none. Checks nothing: that is
// spec::CheckJobArray's part.
spec::JobArray ArrayFromConfig(const protocol::JobConfig& config);
// Turns the config of an array into that of its member.
void MakeMemberConfig(int64_t number, protocol::JobConfig* config);

// gpus and gpu_share_millis become one number, which CheckJob refuses unless it is one or the
// other.
Resources ResourcesFromWire(const protocol::ResourceRequest& wire);
protocol::ResourceRequest ResourcesToWire(const Resources& resources);
using WireGpuParts = google::protobuf::RepeatedPtrField<protocol::GpuPart>;
// In order of their index.
std::vector<GpuPart> GpusFromWire(const WireGpuParts& wire);
void GpusToWire(const std::vector<GpuPart>& gpus, WireGpuParts* wire);

}  // namespace cyxwiz
