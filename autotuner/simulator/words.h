// Named values as text: the cells of a trace's line, the words of a description.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <type_traits>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "engine/base/units.h"
#include "engine/request.h"

namespace kvpareto::sim {

using Words = std::map<std::string, std::string>;

// Takes words by name; the first error wins, and what nobody asked for is one. Each returns whether
// the word was there.
class WordReader {
 public:
  explicit WordReader(Words* words) : words_(words) {}

  bool Text(const std::string& name, std::string& value, bool required = false) {
    const auto found = words_->find(name);
    if (found == words_->end()) {
      if (required) Fail(name, "is missing");
      return false;
    }
    value = found->second;
    words_->erase(found);
    return true;
  }
  bool Number(const std::string& name, double min, double max, double& value,
              bool required = false) {
    std::string text;
    if (!Text(name, text, required)) return false;
    if (!absl::SimpleAtod(text, &value) || !(value >= min && value <= max)) {
      Fail(name, absl::StrCat("'", text, "' is no number in ", min, "..", max));
    }
    return true;
  }
  template <typename T>
  bool Integer(const std::string& name, std::type_identity_t<T> min, std::type_identity_t<T> max,
               T& value, bool required = false) {
    std::string text;
    if (!Text(name, text, required)) return false;
    if (!absl::SimpleAtoi(text, &value) || value < min || value > max) {
      Fail(name, absl::StrCat("'", text, "' is no whole number in ", min, "..", max));
    }
    return true;
  }
  // accuracy, objective, config, budget_bytes.
  void Kv(KvRequest& kv) {
    double accuracy = 0.0;
    if (Number("accuracy", 0.0, 1.0, accuracy)) kv.accuracy_target = accuracy;
    if (std::string text; Text("budget_bytes", text)) {
      const auto bytes = ParseByteSize(text);
      if (!bytes.ok()) Fail("budget_bytes", std::string(bytes.status().message()));
      kv.memory_budget_bytes = bytes.value_or(0);
    }
    if (std::string name; Text("objective", name)) {
      for (const auto objective : {Objective::kAccuracy, Objective::kMemory, Objective::kSpeed}) {
        if (ObjectiveName(objective) == name) kv.objective = objective;
      }
      if (!kv.objective) Fail("objective", "is accuracy, memory or speed");
    }
    Text("config", kv.pinned_config);
  }
  void Fail(const std::string& name, const std::string& message) {
    if (error_.ok()) error_ = absl::InvalidArgumentError(absl::StrCat(name, " ", message));
  }
  absl::Status Finish() {
    if (error_.ok() && !words_->empty()) Fail(words_->begin()->first, "is not known");
    return error_;
  }

 private:
  Words* words_;
  absl::Status error_;
};

}  // namespace kvpareto::sim
