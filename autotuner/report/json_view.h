// Reading JSON that may hold anything: members by type, the first error wins.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "engine/engine.h"

namespace kvpareto::tune {

// A value and where it stands. Absent and null members read as the given default; a member of
// another kind sets `error` (INVALID_ARGUMENT, RESULTS_INVALID), which outlives the view.
class JsonView {
 public:
  JsonView(const nlohmann::json& value, std::string path, absl::Status* error)
      : value_(value), path_(std::move(path)), error_(error) {}

  bool Has(const std::string& key) const;
  std::string Text(const std::string& key) const;
  double Number(const std::string& key) const;
  int64_t Integer(const std::string& key) const;
  bool Boolean(const std::string& key, bool otherwise) const;
  std::vector<int64_t> Integers(const std::string& key) const;
  std::vector<std::string> Texts(const std::string& key) const;
  JsonView Object(const std::string& key) const;
  std::vector<JsonView> Objects(const std::string& key) const;
  // Every member must be a number.
  std::map<std::string, double> Numbers(const std::string& key) const;

 private:
  const nlohmann::json& Find(const std::string& key) const;  // a null value where there is none
  std::string PathOf(const std::string& key) const { return path_ + "." + key; }
  void Fail(const std::string& path, const std::string& wanted) const;
  double NumberOf(const nlohmann::json& value, const std::string& path) const;
  int64_t IntegerOf(const nlohmann::json& value, const std::string& path) const;
  std::string TextOf(const nlohmann::json& value, const std::string& path) const;

  const nlohmann::json& value_;
  std::string path_;
  absl::Status* error_;
};

}  // namespace kvpareto::tune
