#include "server/security/access.h"

#include <openssl/crypto.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "server/log.h"

namespace kvpareto::server::security {
namespace {

absl::Status Unauthenticated(std::string_view reason, const std::string& message) {
  return MakeError(absl::StatusCode::kUnauthenticated, reason, message);
}

// The token of "Bearer TOKEN", or "".
std::string_view BearerToken(std::string_view authorization) {
  constexpr std::string_view kScheme = "bearer ";
  const bool bearer =
      authorization.size() > kScheme.size() &&
      std::equal(kScheme.begin(), kScheme.end(), authorization.begin(), [](char expected, char c) {
        return std::tolower(static_cast<unsigned char>(c)) == expected;
      });
  return bearer ? authorization.substr(kScheme.size()) : "";
}

// Looks at every hash, whatever it finds, each in constant time: how long it takes says nothing.
const Identity* FindByToken(const std::vector<Identity>& identities, std::string_view token) {
  const Sha256 hash = HashOf(token);
  const Identity* found = nullptr;
  for (const Identity& identity : identities) {
    for (const Sha256& known : identity.token_hashes) {
      if (CRYPTO_memcmp(known.data(), hash.data(), hash.size()) == 0) found = &identity;
    }
  }
  return found;
}

const Identity* FindByCertificate(const std::vector<Identity>& identities,
                                  const std::vector<std::string>& peer_names) {
  for (const Identity& identity : identities) {
    for (const std::string& name : identity.certificates) {
      const auto end = peer_names.end();
      if (std::find(peer_names.begin(), end, name) != end) return &identity;
    }
  }
  return nullptr;
}

}  // namespace

absl::Status Caller::ResolveClass(v1::GenerateRequest* request) const {
  if (request->service_class().empty()) request->set_service_class(service_class_);
  if (classes_.empty()) return absl::OkStatus();
  if (request->service_class().empty()) request->set_service_class(classes_.front());
  const std::string& wanted = request->service_class();
  if (std::find(classes_.begin(), classes_.end(), wanted) != classes_.end()) {
    return absl::OkStatus();
  }
  return MakeError(absl::StatusCode::kPermissionDenied, "CLASS_NOT_ALLOWED",
                   "these credentials are not for that service class",
                   {{"field", "service_class"}});
}

absl::StatusOr<std::unique_ptr<Access>> Access::Create(
    const std::string& identities_file, const std::set<std::string>& service_classes) {
  std::unique_ptr<Access> access(new Access(identities_file, service_classes));
  if (identities_file.empty()) return access;
  access->file_.Changed();
  KVP_RETURN_IF_ERROR(access->Load());
  return access;
}

absl::Status Access::Load() const {
  std::ifstream file(file_.path());
  std::stringstream text;
  if (!file || !(text << file.rdbuf())) {
    return MakeError(absl::StatusCode::kNotFound, "CONFIG_NOT_FOUND",
                     "cannot read " + file_.path());
  }
  KVP_ASSIGN_OR_RETURN(Identities identities,
                       ParseIdentities(text.str(), file_.path(), service_classes_));
  identities_ = std::make_shared<const Identities>(std::move(identities));
  return absl::OkStatus();
}

std::shared_ptr<const Access::Identities> Access::Current() const {
  const std::lock_guard lock(mutex_);
  if (identities_ == nullptr || !file_.Changed()) return identities_;
  if (const absl::Status status = Load(); status.ok()) {
    LogInfo("identities reloaded", {{"count", static_cast<int64_t>(identities_->size())}});
  } else {
    LogError("identities not reloaded", {{"error", std::string(status.message())}});
  }
  return identities_;
}

absl::StatusOr<Caller> Access::Admit(const Credentials& credentials, Permission permission) const {
  const std::shared_ptr<const Identities> identities = Current();
  Caller caller;
  caller.service_class_ = std::string(credentials.service_class);
  if (identities == nullptr) return caller;
  const std::string_view token = BearerToken(credentials.authorization);
  const Identity* identity = token.empty() ? FindByCertificate(*identities, credentials.peer_names)
                                           : FindByToken(*identities, token);
  if (identity == nullptr && token.empty()) {
    return Unauthenticated("CREDENTIALS_MISSING",
                           "this server needs credentials: authorization: Bearer TOKEN");
  }
  if (identity == nullptr) {
    return Unauthenticated("CREDENTIALS_UNKNOWN", "the bearer token is not known to this server");
  }
  if (permission == Permission::kAdmin && !identity->admin) {
    return MakeError(absl::StatusCode::kPermissionDenied, "ADMIN_REQUIRED",
                     "these credentials may not administrate the server");
  }
  caller.name_ = identity->name;
  caller.classes_ = identity->classes;
  return caller;
}

}  // namespace kvpareto::server::security
