// The class that a call's metadata names, for proxies that know their clients' classes.
#pragma once

#include <grpcpp/server_context.h>

#include "kvpareto/v1/inference.pb.h"

namespace kvpareto::server {

inline constexpr char kClassMetadata[] = "x-kvpareto-class";

// Sets the class of a request that names none itself.
inline void TakeClassFromMetadata(const grpc::ServerContextBase& context,
                                  v1::GenerateRequest* request) {
  if (!request->service_class().empty()) return;
  const auto found = context.client_metadata().find(kClassMetadata);
  if (found == context.client_metadata().end()) return;
  request->set_service_class(found->second.data(), found->second.size());
}

}  // namespace kvpareto::server
