#include "engine/base/status.h"

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "engine/base/check.h"

namespace kvpareto {
namespace {

constexpr std::string_view kPayloadUrl = "type.kvpareto/ErrorInfo";
// Fields are joined by characters that cannot occur in reasons or keys; values are free text.
constexpr char kFieldSeparator = '\x1e';
constexpr char kValueSeparator = '\x1f';

}  // namespace

absl::Status MakeError(absl::StatusCode code, std::string_view reason, std::string_view message,
                       std::map<std::string, std::string> metadata) {
  KVP_CHECK(code != absl::StatusCode::kOk) << "an error needs a code";
  absl::Status status(code, absl::string_view(message.data(), message.size()));
  std::string payload(reason);
  for (const auto& [key, value] : metadata) {
    payload += kFieldSeparator;
    payload += key;
    payload += kValueSeparator;
    payload += value;
  }
  status.SetPayload(absl::string_view(kPayloadUrl.data(), kPayloadUrl.size()),
                    absl::Cord(std::move(payload)));
  return status;
}

std::optional<ErrorInfo> GetErrorInfo(const absl::Status& status) {
  auto payload = status.GetPayload(absl::string_view(kPayloadUrl.data(), kPayloadUrl.size()));
  if (!payload.has_value()) return std::nullopt;
  const std::string text(*payload);
  std::vector<std::string> fields = absl::StrSplit(text, kFieldSeparator);
  ErrorInfo info{.reason = fields[0], .metadata = {}};
  for (size_t i = 1; i < fields.size(); ++i) {
    std::pair<std::string, std::string> kv =
        absl::StrSplit(fields[i], absl::MaxSplits(kValueSeparator, 1));
    info.metadata.insert(std::move(kv));
  }
  return info;
}

absl::Status Annotate(const absl::Status& status, std::string_view context) {
  if (status.ok()) return status;
  absl::Status annotated(
      status.code(),
      absl::StrCat(absl::string_view(context.data(), context.size()), ": ", status.message()));
  status.ForEachPayload([&](absl::string_view url, const absl::Cord& payload) {
    annotated.SetPayload(url, payload);
  });
  return annotated;
}

}  // namespace kvpareto
