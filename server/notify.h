// Tells a service manager how the process fares, in the protocol of sd_notify(3).
#pragma once

#include <string_view>

namespace kvpareto::server {

// Sends `state` ("READY=1", "STOPPING=1", "WATCHDOG=1") to the socket that $NOTIFY_SOCKET names.
// Returns whether it was sent: false where no service manager asked for it.
bool NotifyServiceManager(std::string_view state);

}  // namespace kvpareto::server
