// One HTTP request and its answer, as handlers see them.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace kvpareto::server::http {

struct Request {
  std::string method;
  std::string path;  // without the query
  std::string body;
  std::string authorization;            // that header, or ""
  std::string service_class;            // x-kvpareto-class, or ""
  std::vector<std::string> peer_names;  // of the client's certificate over mutual TLS
};

struct Response {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;  // further ones
};

// Any thread may call. What is sent after the answer is complete, or after the client has gone, is
// dropped.
class Exchange {
 public:
  virtual ~Exchange() = default;
  virtual const Request& request() const = 0;
  // The whole answer.
  virtual void Send(Response response) = 0;
  // Or an answer in parts: Begin (response.body is its first part), Write..., End (with the
  // last part, which is never too much; "": there is none). Write is false
  // when the client reads so slowly that too much waits for it already.
  virtual void Begin(Response response) = 0;
  virtual bool Write(std::string part) = 0;
  virtual void End(std::string last) = 0;
  // Calls `closed` on the server's thread if the client goes before the answer is complete. To be
  // set before the handler returns.
  virtual void OnClosed(std::function<void()> closed) = 0;
};

// Called on the server's one thread: must not block.
using Handler = std::function<void(std::shared_ptr<Exchange>)>;

}  // namespace kvpareto::server::http
