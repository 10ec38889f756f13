// Server-sent events (the HTML standard's text/event-stream). A job's updates:
//
//   id: 1                        counts from 1; "final" on the last, after which the stream ends
//   event: update
//   data: {JobUpdateStream as JSON}
//
// What happens to jobs and nodes:
//
//   id: 4711                     the event's number: as Last-Event-ID where to go on from
//   event: event
//   data: {Event as JSON}
//
// Both:
//
//   event: error                 the stream cannot go on
//   data: {problem details}
//
//   : heartbeat                  when nothing has happened for a while
#pragma once

#include <memory>
#include <string>

#include "central/api.h"
#include "central/http_server.h"

namespace cyxwiz::central {

// Follows the job and answers `exchange`: with the stream once there is a first update, or with the
// error.
void FollowJobUpdates(Api* api, const std::string& job_id, const std::string& path,
                      const std::shared_ptr<HttpExchange>& exchange);
// Likewise the events that `request` asks for; the stream begins as soon as the request has been
// found to be right.
void FollowEventHistory(Api* api, const protocol::ListEventsRequest& request,
                        const std::string& path, const std::shared_ptr<HttpExchange>& exchange);

}  // namespace cyxwiz::central
