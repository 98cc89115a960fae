// Clients of the server's APIs, each with a connection of its own that can be cut.
#pragma once

#include <memory>

#include "tests/reliability/matrix.h"

namespace kvpareto::reliability {

std::unique_ptr<Call> GenerateCall(int grpc_port, const CallSpec& spec);
std::unique_ptr<Call> ModelInferCall(int grpc_port, const CallSpec& spec);
std::unique_ptr<Call> ModelStreamInferCall(int grpc_port, const CallSpec& spec);
std::unique_ptr<Call> HttpCall(int http_port, const CallSpec& spec);  // server-sent events

}  // namespace kvpareto::reliability
