// The version of this program, from the build.
#pragma once

#ifndef KVPARETO_VERSION
#error "the build defines KVPARETO_VERSION"
#endif

namespace kvpareto::server {

inline constexpr char kServerVersion[] = KVPARETO_VERSION;

}  // namespace kvpareto::server
