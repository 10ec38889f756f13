// Newline-delimited text over a Unix stream socket, as the node and an attempt's runner speak it.
#pragma once

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/file.h"
#include "base/status.h"

namespace cyxwiz::node {

// Executor thread only. Held by a shared_ptr; operations under way keep it alive.
class LineChannel : public std::enable_shared_from_this<LineChannel> {
 public:
  static constexpr size_t kMaxLineBytes = 1 << 20;

  // Takes the socket over.
  LineChannel(boost::asio::io_context& io, UniqueFd socket);

  // on_line: each line without its end. on_closed: once, when the other side has closed (OK) or the
  // channel is broken (a line too long, an error of the socket). Both until Close.
  void Start(std::function<void(std::string_view)> on_line, std::function<void(Status)> on_closed);
  // Queues a line; the newline is added. Lost when the other side is gone.
  void Send(std::string line);
  // Ends reading and writing; no callback comes afterwards.
  void Close();

 private:
  void Read();
  void TakeLines();
  void Write();
  void Broken(Status status);

  boost::asio::local::stream_protocol::socket socket_;
  std::function<void(std::string_view)> on_line_;
  std::function<void(Status)> on_closed_;
  std::array<char, 16384> chunk_;
  std::string received_;
  std::deque<std::string> out_;
  bool closed_ = false;
};

}  // namespace cyxwiz::node
