#include "central/http_server.h"

// g++ cannot instrument fences; without them Asio is as correct, and ThreadSanitizer sees what it
// does.
#ifdef __SANITIZE_THREAD__
#define BOOST_ASIO_DISABLE_FENCED_BLOCK
#endif

#include <algorithm>
#include <atomic>
#include <boost/asio.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <ctime>
#include <mutex>
#include <thread>
#include <unordered_set>
#include <vector>

#include "base/logging.h"
#include "base/text.h"

namespace cyxwiz::central {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using boost::system::error_code;
using tcp = asio::ip::tcp;
using Clock = std::chrono::steady_clock;

constexpr size_t kReadBytes = 4096;
// Of a request that is refused before it was read: read and thrown away, so that the client gets to
// see the answer.
constexpr size_t kMostLingerBytes = 16 * 1024 * 1024;
constexpr std::chrono::seconds kLingerTimeout{2};

std::string HttpDate() {
  std::time_t now = std::time(nullptr);
  std::tm parts;
  ::gmtime_r(&now, &parts);
  char text[64];
  std::strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &parts);
  return text;
}

std::string Lower(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return lower;
}

class Connection;

// What all connections share. Lives as long as the last of them.
struct Shared {
  HttpServer::Options options;
  HttpHandler* handler = nullptr;
  HttpObserver* observer = nullptr;
  bool is_loopback = false;
  std::atomic<bool> stopping = false;
  std::mutex mutex;
  std::unordered_set<std::shared_ptr<Connection>>
      connections;  // keeps them alive while a handler works
};

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(tcp::socket socket, std::shared_ptr<Shared> shared,
             std::shared_ptr<asio::io_context> context)
      : shared_(std::move(shared)),
        context_(std::move(context)),
        stream_(std::move(socket)),
        heartbeat_(stream_.get_executor()) {}

  asio::any_io_executor executor() { return stream_.get_executor(); }

  // All further methods: on the connection's strand.

  void Start() {
    if (shared_->stopping) return Close();
    WaitForRequest(shared_->options.header_timeout);
  }

  void Close() {
    if (closed_) return;
    closed_ = true;
    stream_.close();
    heartbeat_.cancel();
    EndExchange();
    shared_->observer->OnConnections(-1);
    std::lock_guard lock(shared_->mutex);
    shared_->connections.erase(shared_from_this());
  }

  void Send(HttpResponse response) {
    if (closed_) return;
    if (route_ != nullptr) {
      std::chrono::duration<double> taken = Clock::now() - began_;
      shared_->observer->OnResponse(method_, route_, response.status, taken.count());
      route_ = nullptr;
    }
    if (response.is_stream && source_) return SendStream(response);
    bool is_head = method_ == "HEAD", has_body = response.status != 204;
    source_.reset();
    auto message = std::make_shared<http::response<http::string_body>>();
    FillHead(*message, response);
    if (has_body) message->content_length(response.body.size());
    if (has_body && !is_head) message->body() = std::move(response.body);
    message->keep_alive(keep_alive_);
    stream_.expires_after(shared_->options.write_timeout);
    http::async_write(stream_, *message,
                      [self = shared_from_this(), message](error_code error, size_t) {
                        if (error) return self->Close();
                        if (self->keep_alive_)
                          return self->WaitForRequest(self->shared_->options.idle_timeout);
                        self->Linger();
                      });
  }

  void Attach(std::shared_ptr<BodySource> source) { source_ = std::move(source); }
  void SetRoute(const char* route) { route_ = route; }

 private:
  class Exchange;
  using Parser = http::request_parser<http::string_body>;

  void WaitForRequest(std::chrono::milliseconds timeout) {
    if (buffer_.size() > 0) return ReadHeader();  // the next request came along with the last one
    stream_.expires_after(timeout);
    stream_.async_read_some(buffer_.prepare(kReadBytes),
                            [self = shared_from_this()](error_code error, size_t bytes) {
                              if (error) return self->Close();
                              self->buffer_.commit(bytes);
                              self->ReadHeader();
                            });
  }

  void ReadHeader() {
    began_ = Clock::now();
    route_ = "none";
    method_.clear();
    parser_.emplace();
    parser_->header_limit(static_cast<uint32_t>(shared_->options.max_header_bytes));
    parser_->body_limit(shared_->options.max_body_bytes);
    stream_.expires_after(shared_->options.header_timeout);
    http::async_read_header(
        stream_, buffer_, *parser_,
        [self = shared_from_this()](error_code error, size_t) { self->OnHeader(error); });
  }

  void OnHeader(error_code error) {
    if (error) return OnReadError(error);
    const auto& head = parser_->get();
    method_ = std::string(head.method_string());
    keep_alive_ = head.keep_alive();
    if (Status status = CheckSource(); !status.ok())
      return Refuse(status, HttpStatusOf(status.code()));
    std::string expect = Lower(head[http::field::expect]);
    if (expect.empty()) return ReadBody();
    if (expect != "100-continue") {
      return Refuse(
          InvalidArgument("Expect: '" + expect + "' cannot be met", "leave the header out"), 417);
    }
    static constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
    asio::async_write(stream_, asio::buffer(kContinue),
                      [self = shared_from_this()](error_code failure, size_t) {
                        if (failure) return self->Close();
                        self->ReadBody();
                      });
  }

  void ReadBody() {
    stream_.expires_after(shared_->options.body_timeout);
    http::async_read(stream_, buffer_, *parser_,
                     [self = shared_from_this()](error_code error, size_t) {
                       if (error) return self->OnReadError(error);
                       self->OnRequest();
                     });
  }

  void OnReadError(error_code error) {
    const HttpServer::Options& options = shared_->options;
    if (error == http::error::header_limit) {
      return Refuse(InvalidArgument("the request's header is larger than " +
                                    std::to_string(options.max_header_bytes) + " bytes"),
                    431);
    }
    if (error == http::error::body_limit) {
      return Refuse(InvalidArgument("the request's body is larger than " +
                                    std::to_string(options.max_body_bytes) + " bytes"),
                    413);
    }
    bool gone = error == http::error::end_of_stream || error == http::error::partial_message;
    if (gone || error.category() != make_error_code(http::error::bad_version).category())
      return Close();
    Refuse(InvalidArgument("not an HTTP/1.1 request: " + error.message()), 400);
  }

  // Whether this client may talk to us at all.
  Status CheckSource() {
    const auto& head = parser_->get();
    size_t hosts = head.count(http::field::host);
    if (hosts != 1) {
      return InvalidArgument("expected one Host header, found " + std::to_string(hosts));
    }
    std::string_view host = head[http::field::host];
    if (shared_->is_loopback && !IsLoopbackHost(host)) {
      return PermissionDenied("this server serves its own machine only: Host '" +
                                  std::string(host) + "' is not allowed",
                              "ask for localhost, 127.0.0.1 or [::1]");
    }
    auto [begin, end] = head.equal_range(http::field::origin);
    for (auto origin = begin; origin != end; ++origin) {
      if (!IsSameOrigin(origin->value(), host)) {
        return PermissionDenied(
            "pages of '" + std::string(origin->value()) + "' may not use this server",
            "open the page that this server itself serves");
      }
    }
    return OkStatus();
  }

  // Answers a request that was not read to its end; the connection cannot go on after it.
  void Refuse(const Status& status, int http_status) {
    keep_alive_ = false;
    method_ = std::string(parser_->get().method_string());
    std::string_view target = parser_->get().target();
    Send(ProblemResponse(status, target.substr(0, target.find('?')), nullptr, http_status));
  }

  void OnRequest();

  template <typename Message>
  void FillHead(Message& message, const HttpResponse& response) {
    message.version(11);
    message.result(static_cast<unsigned>(response.status));
    message.reason(HttpReason(response.status));
    message.set(http::field::date, HttpDate());
    if (response.status != 204) message.set(http::field::content_type, response.content_type);
    message.set(http::field::cache_control, "no-store");
    message.set("X-Content-Type-Options", "nosniff");
    for (const auto& [name, value] : response.headers) message.set(name, value);
  }

  // ---- Streams: chunk by chunk until the source ends, then the connection closes.

  void SendStream(const HttpResponse& response) {
    keep_alive_ = false;
    chunked_ = parser_->get().version() >= 11;
    auto message = std::make_shared<http::response<http::empty_body>>();
    FillHead(*message, response);
    message->keep_alive(false);
    if (chunked_) message->chunked(true);
    auto serializer = std::make_shared<http::response_serializer<http::empty_body>>(*message);
    stream_.expires_after(shared_->options.write_timeout);
    http::async_write_header(
        stream_, *serializer,
        [self = shared_from_this(), message, serializer](error_code error, size_t) {
          if (error || self->closed_) return self->Close();
          self->shared_->observer->OnStreams(1);
          self->streaming_ = true;
          self->WatchForEnd();
          std::weak_ptr<Connection> weak = self;
          std::shared_ptr<asio::io_context> context = self->context_;
          self->source_->OnWake([weak, context] {
            asio::post(*context, [weak] {
              auto connection = weak.lock();
              if (connection)
                asio::dispatch(connection->executor(), [connection] { connection->Pump(); });
            });
          });
          self->Pump();
        });
  }

  // Notices at once when the client goes; what it sends is of no interest.
  void WatchForEnd() {
    stream_.expires_never();
    stream_.async_read_some(buffer_.prepare(kReadBytes),
                            [self = shared_from_this()](error_code error, size_t) {
                              if (error) return self->Close();
                              self->WatchForEnd();
                            });
  }

  void Pump() {
    if (closed_ || writing_ || !streaming_ || !source_) return;
    std::optional<std::string> piece = source_->Next();
    if (!piece) {
      source_.reset();
      return WriteLast();
    }
    if (!piece->empty()) return Write(std::move(*piece));
    heartbeat_.expires_after(shared_->options.heartbeat);
    heartbeat_.async_wait([self = shared_from_this()](error_code error) {
      if (error || self->closed_ || self->writing_ || !self->source_) return;
      self->Write(self->source_->Heartbeat());
    });
  }

  void Write(std::string text) {
    writing_ = true;
    heartbeat_.cancel();
    auto piece = std::make_shared<std::string>(std::move(text));
    auto done = [self = shared_from_this(), piece](error_code error, size_t) {
      self->writing_ = false;
      if (error) return self->Close();
      self->Pump();
    };
    stream_.expires_after(shared_->options.write_timeout);
    if (chunked_) {
      asio::async_write(stream_, http::make_chunk(asio::buffer(*piece)), done);
    } else {
      asio::async_write(stream_, asio::buffer(*piece), done);
    }
  }

  void WriteLast() {
    writing_ = true;
    heartbeat_.cancel();
    if (!chunked_) return EndSending();
    stream_.expires_after(shared_->options.write_timeout);
    asio::async_write(stream_, http::make_chunk_last(),
                      [self = shared_from_this()](error_code error, size_t) {
                        if (error) return self->Close();
                        self->EndSending();
                      });
  }

  // The watch for the client's end, still pending, closes the connection; or this deadline does.
  void EndSending() {
    if (closed_) return;
    error_code ignored;
    stream_.socket().shutdown(tcp::socket::shutdown_send, ignored);
    heartbeat_.expires_after(kLingerTimeout);
    heartbeat_.async_wait([self = shared_from_this()](error_code error) {
      if (!error) self->Close();
    });
  }

  // Closing at once while the client still sends would reset the connection and lose our answer.
  void Linger() {
    error_code ignored;
    stream_.socket().shutdown(tcp::socket::shutdown_send, ignored);
    stream_.expires_after(kLingerTimeout);
    Discard(0);
  }

  void Discard(size_t so_far) {
    buffer_.clear();
    stream_.async_read_some(buffer_.prepare(64 * 1024),
                            [self = shared_from_this(), so_far](error_code error, size_t n) {
                              if (error || so_far + n > kMostLingerBytes) return self->Close();
                              self->Discard(so_far + n);
                            });
  }

  void EndExchange() {
    if (streaming_) shared_->observer->OnStreams(-1);
    streaming_ = false;
    source_.reset();
  }

  std::shared_ptr<Shared> shared_;
  // Not an owner's reference in a cycle: the context never outlives the server's threads with a
  // connection in it.
  std::shared_ptr<asio::io_context> context_;
  beast::tcp_stream stream_;
  asio::steady_timer heartbeat_;
  beast::flat_buffer buffer_;
  std::optional<Parser> parser_;
  bool closed_ = false, keep_alive_ = false;

  // The request in work.
  Clock::time_point began_;
  std::string method_;
  const char* route_ = nullptr;
  std::shared_ptr<BodySource> source_;
  bool chunked_ = true, streaming_ = false, writing_ = false;
};

// Refers to the connection weakly: an answer that comes after the client has gone goes nowhere.
class Connection::Exchange : public HttpExchange {
 public:
  Exchange(const std::shared_ptr<Connection>& connection, std::string path)
      : context_(connection->context_), connection_(connection), path_(std::move(path)) {}
  ~Exchange() override {
    if (!answered_) {
      Respond(ProblemResponse(Internal("the request was dropped without an answer", "try again"),
                              path_));
    }
  }

  void Respond(HttpResponse response) override {
    if (answered_.exchange(true)) return;
    auto shared = std::make_shared<HttpResponse>(std::move(response));
    asio::post(*context_, [weak = connection_, shared] {
      auto connection = weak.lock();
      if (!connection) return;
      asio::dispatch(connection->executor(),
                     [connection, shared] { connection->Send(std::move(*shared)); });
    });
  }
  void Attach(std::shared_ptr<BodySource> source) override {
    if (auto connection = connection_.lock()) connection->Attach(std::move(source));
  }
  void SetRoute(const char* route) override {
    if (auto connection = connection_.lock()) connection->SetRoute(route);
  }

 private:
  std::shared_ptr<asio::io_context> context_;
  std::weak_ptr<Connection> connection_;
  const std::string path_;
  std::atomic<bool> answered_ = false;
};

void Connection::OnRequest() {
  auto& message = parser_->get();
  HttpRequest request;
  request.method = method_;
  if (Status status = ParseTarget(message.target(), &request); !status.ok())
    return Refuse(status, 400);
  request.content_type = std::string(message[http::field::content_type]);
  request.last_event_id = std::string(message["Last-Event-ID"]);
  request.user = std::string(message["Cyxwiz-User"]);
  boost::system::error_code gone;
  if (auto peer = stream_.socket().remote_endpoint(gone); !gone)
    request.address = peer.address().to_string();
  request.body = std::move(message.body());
  auto exchange = std::make_shared<Exchange>(shared_from_this(), request.path);
  try {
    shared_->handler->Handle(std::move(request), exchange);
  } catch (const std::exception& e) {
    exchange->Respond(ProblemResponse(Internal(e.what()), ""));
  }
}

}  // namespace

bool IsLoopbackHost(std::string_view host) {
  size_t colon = host.rfind(':');
  if (colon != std::string_view::npos && host.back() != ']') {
    auto port = ParseInt(host.substr(colon + 1));
    if (!port || *port < 0 || *port > 65535) return false;
    host = host.substr(0, colon);
  }
  return Lower(host) == "localhost" || host == "127.0.0.1" || host == "[::1]";
}

bool IsSameOrigin(std::string_view origin, std::string_view host) {
  size_t scheme = origin.find("://");
  return scheme != std::string_view::npos && Lower(origin.substr(scheme + 3)) == Lower(host);
}

class HttpServer::Impl {
 public:
  explicit Impl(Options options)
      : context_(std::make_shared<asio::io_context>(options.threads)),
        acceptor_(asio::make_strand(*context_)),
        retry_(acceptor_.get_executor()) {
    shared_->options = std::move(options);
  }

  Status Listen(HttpHandler* handler, HttpObserver* observer) {
    shared_->handler = handler;
    shared_->observer = observer;
    const Options& options = shared_->options;
    bool is_v6 = options.host.find(':') != std::string::npos;
    std::string listen =
        (is_v6 ? "[" + options.host + "]" : options.host) + ":" + std::to_string(options.port);
    if (options.port < 0 || options.port > 65535) {
      return InvalidArgument("cannot listen on '" + listen + "'",
                             "a port is a number from 0 to 65535");
    }
    error_code error;
    auto found = tcp::resolver(*context_).resolve(options.host, std::to_string(options.port),
                                                  tcp::resolver::passive, error);
    if (error || found.empty() || options.host.empty()) {
      return InvalidArgument("cannot listen on '" + listen + "': " + error.message(),
                             "give an address of this machine, such as 127.0.0.1");
    }
    tcp::endpoint endpoint = found.begin()->endpoint();
    acceptor_.open(endpoint.protocol(), error);
    if (!error) acceptor_.set_option(asio::socket_base::reuse_address(true), error);
    if (!error) acceptor_.bind(endpoint, error);
    if (!error) acceptor_.listen(asio::socket_base::max_listen_connections, error);
    if (error == asio::error::address_in_use) {
      return FailedPrecondition(
          "cannot listen on " + listen + ": the port is in use",
          "stop the program that listens there, or choose another port (0 takes a free one)");
    }
    if (error == asio::error::access_denied) {
      return PermissionDenied("cannot listen on " + listen + ": " + error.message(),
                              "choose a port from 1024 up");
    }
    if (error) return InvalidArgument("cannot listen on " + listen + ": " + error.message());
    local_ = acceptor_.local_endpoint(error);
    shared_->is_loopback = local_.address().is_loopback();
    Accept();
    for (int i = 0; i < std::max(1, shared_->options.threads); ++i) {
      threads_.emplace_back([this] { Run(); });
    }
    return OkStatus();
  }

  ~Impl() {
    shared_->stopping = true;
    // A connection that waits for its answer has nothing under way: without the acceptor the
    // context would be out of work and stop before the connections are told to close.
    auto work = asio::make_work_guard(*context_);
    asio::post(acceptor_.get_executor(), [this] {
      error_code ignored;
      acceptor_.close(ignored);
      retry_.cancel();
    });
    std::vector<std::shared_ptr<Connection>> connections;
    {
      std::lock_guard lock(shared_->mutex);
      connections.assign(shared_->connections.begin(), shared_->connections.end());
    }
    for (auto& connection : connections) {
      asio::post(connection->executor(), [connection] { connection->Close(); });
    }
    connections.clear();
    work.reset();
    // Without a socket open nothing is left to do, and the threads end by themselves.
    for (std::thread& thread : threads_) thread.join();
  }

  int port() const { return local_.port(); }
  bool is_loopback() const { return shared_->is_loopback; }

 private:
  void Run() {
    for (;;) {
      try {
        context_->run();
        return;
      } catch (const std::exception& e) {
        spdlog::error("rest: {}", e.what());  // of one connection; the others go on
      }
    }
  }

  void Accept() {
    acceptor_.async_accept(
        asio::make_strand(*context_), [this](error_code error, tcp::socket socket) {
          if (shared_->stopping) return;
          if (error) {
            // Most likely out of descriptors: connections that end free some.
            spdlog::warn("rest: cannot accept a connection: {}", error.message());
            retry_.expires_after(std::chrono::milliseconds(100));
            retry_.async_wait([this](error_code cancelled) {
              if (!cancelled) Accept();
            });
            return;
          }
          OnAccept(std::move(socket));
          Accept();
        });
  }

  void OnAccept(tcp::socket socket) {
    error_code ignored;
    socket.set_option(tcp::no_delay(true), ignored);
    HttpObserver* observer = shared_->observer;
    std::shared_ptr<Connection> connection;
    {
      std::lock_guard lock(shared_->mutex);
      if (shared_->connections.size() < shared_->options.max_connections) {
        connection = std::make_shared<Connection>(std::move(socket), shared_, context_);
        shared_->connections.insert(connection);
      }
    }
    if (connection) {
      observer->OnConnections(1);
      asio::post(connection->executor(), [connection] { connection->Start(); });
      return;
    }
    // Small enough for the empty send buffer of a new socket, so this does not block.
    static constexpr std::string_view kFull =
        "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 1\r\nConnection: "
        "close\r\n\r\n";
    socket.non_blocking(true, ignored);
    asio::write(socket, asio::buffer(kFull), ignored);
    observer->OnResponse("none", "none", 503, 0);
  }

  std::shared_ptr<asio::io_context> context_;
  std::shared_ptr<Shared> shared_ = std::make_shared<Shared>();
  tcp::acceptor acceptor_;
  asio::steady_timer retry_;
  tcp::endpoint local_;
  std::vector<std::thread> threads_;
};

HttpServer::HttpServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
HttpServer::~HttpServer() = default;
int HttpServer::port() const { return impl_->port(); }
bool HttpServer::is_loopback() const { return impl_->is_loopback(); }

Result<std::unique_ptr<HttpServer>> HttpServer::Start(Options options, HttpHandler* handler,
                                                      HttpObserver* observer) {
  auto impl = std::make_unique<Impl>(std::move(options));
  RETURN_IF_ERROR(impl->Listen(handler, observer));
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(impl)));
}

}  // namespace cyxwiz::central
