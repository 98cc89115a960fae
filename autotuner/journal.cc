#include "autotuner/journal.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "autotuner/sha256.h"

namespace kvpareto::tune {
namespace {

// Keys stay in the order they are written in.
using Json = nlohmann::ordered_json;

absl::Status NotWritable(const std::string& path) {
  return MakeError(absl::StatusCode::kInternal, "FILE_NOT_WRITABLE", "cannot write " + path,
                   {{"path", path}});
}

}  // namespace

absl::StatusOr<Journal> Journal::Open(const std::string& path) {
  Journal journal;
  journal.path_ = path;
  bool cut = false;  // the last line has no end
  {
    std::ifstream in(path);
    for (std::string line; std::getline(in, line);) {
      cut = in.eof();
      if (cut) break;
      journal.Read(line);
    }
  }
  journal.out_.open(path, std::ios::app);
  if (cut) journal.out_ << '\n';
  if (!journal.out_.flush()) return NotWritable(path);
  return journal;
}

const std::vector<double>* Journal::Find(const std::string& key) const {
  const auto found = records_.find(key);
  return found == records_.end() ? nullptr : &found->second;
}

const std::string* Journal::FindFailure(const std::string& key) const {
  const auto found = failures_.find(key);
  return found == failures_.end() ? nullptr : &found->second;
}

void Journal::Read(const std::string& line) {
  const Json record = Json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!record.is_object() || !record.contains("key") || !record["key"].is_string()) return;
  const std::string key = record["key"];
  if (const auto failed = record.find("failed"); failed != record.end() && failed->is_string()) {
    failures_.insert_or_assign(key, *failed);
  }
  const auto found = record.find("values");
  if (found == record.end() || !found->is_array()) return;
  std::vector<double> values;
  for (const Json& value : *found) {
    values.push_back(value.is_number() ? value.get<double>() : std::nan(""));
  }
  records_.insert_or_assign(key, std::move(values));
}

absl::Status Journal::Write(const std::string& line) {
  ++appended_;
  return (out_ << line << '\n').flush() ? absl::OkStatus() : NotWritable(path_);
}

absl::Status Journal::Append(const std::string& key, std::vector<double> values,
                             const std::string& what) {
  KVP_RETURN_IF_ERROR(Write(Json{{"key", key}, {"what", what}, {"values", values}}.dump(
      -1, ' ', false, Json::error_handler_t::replace)));
  records_.insert_or_assign(key, std::move(values));
  return absl::OkStatus();
}

absl::Status Journal::AppendFailure(const std::string& key, const std::string& reason,
                                    const std::string& what) {
  KVP_RETURN_IF_ERROR(Write(Json{{"key", key}, {"what", what}, {"failed", reason}}.dump(
      -1, ' ', false, Json::error_handler_t::replace)));
  failures_.insert_or_assign(key, reason);
  return absl::OkStatus();
}

std::string KeyOf(const std::vector<std::string>& parts) {
  std::string all;
  for (const std::string& part : parts) all += std::to_string(part.size()) + ":" + part;
  return Sha256Hex(all);
}

std::string TokensDigest(const std::vector<int32_t>& tokens) {
  return Sha256Hex({reinterpret_cast<const char*>(tokens.data()), tokens.size() * sizeof(int32_t)});
}

}  // namespace kvpareto::tune
