// The status page; the build makes it from page.html.
#pragma once

namespace kvpareto::server {

extern const char kStatusPage[];

}  // namespace kvpareto::server
