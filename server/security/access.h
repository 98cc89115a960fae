// Decides who a caller is and whether a call is allowed. Every method of every API asks here first.
#pragma once

#include <chrono>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "kvpareto/v1/inference.pb.h"
#include "server/security/identity.h"
#include "server/security/watched_file.h"
#include "server/status.h"

namespace kvpareto::server::security {

enum class Permission { kUse, kAdmin };

// A caller that has been let in; only Access makes one, so that nothing runs for others.
class Caller {
 public:
  const std::string& name() const { return name_; }
  // Sets the class of a request that names none: to the one that the call's metadata name, or the
  // first one of the identity. Errors: PERMISSION_DENIED (CLASS_NOT_ALLOWED).
  absl::Status ResolveClass(v1::GenerateRequest* request) const;

 private:
  friend class Access;
  Caller() = default;
  std::string name_;                  // empty: the server has no identities
  std::string service_class_;         // that the call names; empty: none
  std::vector<std::string> classes_;  // empty: any
};

// What a call brings along.
struct Credentials {
  std::string_view authorization;       // the header, "Bearer ..." or ""
  std::vector<std::string> peer_names;  // of a verified client certificate
  // x-kvpareto-class, for proxies that know their clients' classes; or "".
  std::string_view service_class;
};

// Thread-safe.
class Access {
 public:
  // Without a file (""), everybody may do everything that the server offers. Errors: as reading and
  // parsing the file. A file that changes is read again within a second; one that is broken then
  // leaves the old identities in force and is logged.
  static absl::StatusOr<std::unique_ptr<Access>> Create(
      const std::string& identities_file, const std::set<std::string>& service_classes);

  // Errors: UNAUTHENTICATED (CREDENTIALS_MISSING, CREDENTIALS_UNKNOWN), PERMISSION_DENIED
  // (ADMIN_REQUIRED).
  absl::StatusOr<Caller> Admit(const Credentials& credentials, Permission permission) const;

 private:
  using Identities = std::vector<Identity>;

  Access(const std::string& file, const std::set<std::string>& service_classes)
      : service_classes_(service_classes), file_(file) {}
  absl::Status Load() const;
  // Reads the file again if it has changed.
  std::shared_ptr<const Identities> Current() const;

  const std::set<std::string> service_classes_;
  mutable std::mutex mutex_;
  mutable WatchedFile file_;
  mutable std::shared_ptr<const Identities> identities_;  // null: no file
};

}  // namespace kvpareto::server::security
