#include "server/security/identity.h"

#include <openssl/sha.h>

#include <utility>

#include "absl/strings/escaping.h"
#include "server/yaml_map.h"

namespace kvpareto::server::security {
namespace {

absl::Status ReadHashes(YamlMap* map, Identity* identity) {
  std::vector<std::string> texts;
  KVP_RETURN_IF_ERROR(map->Read("token_sha256", &texts));
  for (const std::string& text : texts) {
    const bool hex = text.find_first_not_of("0123456789abcdefABCDEF") == std::string::npos;
    Sha256 hash;
    if (!hex || text.size() != 2 * hash.size()) {
      // Without the value: someone may have put the token itself there.
      return map->Error("token_sha256", "must be a list of hashes of 64 hexadecimal digits");
    }
    const std::string bytes = absl::HexStringToBytes(text);
    std::copy(bytes.begin(), bytes.end(), hash.begin());
    identity->token_hashes.push_back(hash);
  }
  return absl::OkStatus();
}

absl::Status ReadAdmin(YamlMap* map, bool* admin) {
  KVP_RETURN_IF_ERROR(map->ReadBool("admin", admin));
  return map->CheckNoOtherKeys();
}

absl::StatusOr<Identity> ReadIdentity(YamlMap* map, const std::set<std::string>& service_classes) {
  Identity identity;
  KVP_RETURN_IF_ERROR(map->Read("name", &identity.name));
  KVP_RETURN_IF_ERROR(ReadHashes(map, &identity));
  KVP_RETURN_IF_ERROR(map->Read("certificates", &identity.certificates));
  KVP_RETURN_IF_ERROR(map->Read("classes", &identity.classes));
  KVP_RETURN_IF_ERROR(ReadAdmin(map, &identity.admin));
  if (identity.name.empty()) return map->Error("name", "is missing");
  if (identity.token_hashes.empty() && identity.certificates.empty()) {
    return map->Error("", "needs token_sha256 or certificates");
  }
  for (const std::string& name : identity.classes) {
    if (!service_classes.contains(name)) {
      return map->Error("classes", name + " is not one of the server's service classes");
    }
  }
  return identity;
}

}  // namespace

Sha256 HashOf(std::string_view text) {
  Sha256 hash;
  SHA256(reinterpret_cast<const uint8_t*>(text.data()), text.size(), hash.data());
  return hash;
}

absl::StatusOr<std::vector<Identity>> ParseIdentities(
    const std::string& yaml, const std::string& file_name,
    const std::set<std::string>& service_classes) {
  KVP_ASSIGN_OR_RETURN(YamlMap root, YamlMap::Parse(yaml, file_name));
  KVP_ASSIGN_OR_RETURN(std::vector<YamlMap> maps, root.ListOfMaps("identities"));
  KVP_RETURN_IF_ERROR(root.CheckNoOtherKeys());
  std::vector<Identity> identities;
  for (YamlMap& map : maps) {
    KVP_ASSIGN_OR_RETURN(Identity identity, ReadIdentity(&map, service_classes));
    identities.push_back(std::move(identity));
  }
  return identities;
}

}  // namespace kvpareto::server::security
