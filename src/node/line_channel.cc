#include "node/line_channel.h"

#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/write.hpp>

namespace cyxwiz::node {

LineChannel::LineChannel(boost::asio::io_context& io, UniqueFd socket) : socket_(io) {
  boost::system::error_code error;
  socket_.assign(boost::asio::local::stream_protocol(), socket.get(), error);
  if (!error) socket.Release();
}

void LineChannel::Start(std::function<void(std::string_view)> on_line,
                        std::function<void(Status)> on_closed) {
  on_line_ = std::move(on_line);
  on_closed_ = std::move(on_closed);
  Read();
}

void LineChannel::Read() {
  socket_.async_read_some(
      boost::asio::buffer(chunk_),
      [self = shared_from_this()](const boost::system::error_code& error, size_t n) {
        if (self->closed_) return;
        if (error) {
          bool gone =
              error == boost::asio::error::eof || error == boost::asio::error::connection_reset;
          self->Broken(gone ? OkStatus() : Internal("the runner's socket: " + error.message()));
          return;
        }
        self->received_.append(self->chunk_.data(), n);
        self->TakeLines();
        if (!self->closed_) self->Read();
      });
}

void LineChannel::TakeLines() {
  size_t begin = 0;
  for (size_t end; !closed_ && (end = received_.find('\n', begin)) != std::string::npos;) {
    on_line_(std::string_view(received_).substr(begin, end - begin));
    begin = end + 1;
  }
  received_.erase(0, begin);
  if (!closed_ && received_.size() > kMaxLineBytes) {
    Broken(InvalidArgument("the runner sent a line of more than " + std::to_string(kMaxLineBytes) +
                           " bytes"));
  }
}

void LineChannel::Send(std::string line) {
  if (closed_) return;
  line.push_back('\n');
  out_.push_back(std::move(line));
  if (out_.size() == 1) Write();
}

void LineChannel::Write() {
  boost::asio::async_write(
      socket_, boost::asio::buffer(out_.front()),
      [self = shared_from_this()](const boost::system::error_code& error, size_t) {
        // An error here is seen by the reading side too, which tells.
        if (self->closed_ || error) return;
        self->out_.pop_front();
        if (!self->out_.empty()) self->Write();
      });
}

void LineChannel::Broken(Status status) {
  auto on_closed = std::move(on_closed_);
  Close();
  if (on_closed) on_closed(std::move(status));
}

void LineChannel::Close() {
  if (closed_) return;
  closed_ = true;
  boost::system::error_code error;
  socket_.close(error);
  on_closed_ = nullptr;
  // on_line_ stays: this may be called from within it.
}

}  // namespace cyxwiz::node
