#include "autotuner/journal.h"

#include <charconv>
#include <utility>

#include "autotuner/sha256.h"

namespace kvpareto::tune {
namespace {

absl::Status NotWritable(const std::string& path) {
  return MakeError(absl::StatusCode::kInternal, "FILE_NOT_WRITABLE", "cannot write " + path,
                   {{"path", path}});
}

std::optional<std::pair<std::string, std::vector<double>>> ParseLine(std::string_view line) {
  const auto word = [&line] {
    const size_t end = std::min(line.find(' '), line.size());
    const std::string_view result = line.substr(0, end);
    line.remove_prefix(std::min(end + 1, line.size()));
    return result;
  };
  const auto number = [](std::string_view text, auto& value) {
    return std::from_chars(text.data(), text.data() + text.size(), value).ec == std::errc();
  };
  const std::string key(word());
  size_t count = 0;
  if (key.empty() || !number(word(), count)) return std::nullopt;
  std::vector<double> values;
  while (!line.empty()) {
    double value = 0.0;
    if (!number(word(), value)) return std::nullopt;
    values.push_back(value);
  }
  if (values.size() != count) return std::nullopt;
  return std::pair(key, std::move(values));
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
      if (auto record = ParseLine(line)) journal.records_.insert(*std::move(record));
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

absl::Status Journal::Append(const std::string& key, std::vector<double> values) {
  std::string line = key + " " + std::to_string(values.size());
  for (double value : values) {
    char text[32];  // the shortest digits that give the same double again
    const auto end = std::to_chars(text, text + sizeof text, value).ptr;
    line += ' ';
    line.append(text, end);
  }
  if (!(out_ << line << '\n').flush()) return NotWritable(path_);
  records_.insert_or_assign(key, std::move(values));
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
