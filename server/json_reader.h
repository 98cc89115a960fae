// A JSON object of a request that is read key by key; every error names the field, and keys that
// nobody asked for are errors.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "server/status.h"

namespace kvpareto::server {

// INVALID_ARGUMENT with metadata "field".
absl::Status FieldError(std::string_view reason, const std::string& field, const std::string& rule);

class JsonReader {
 public:
  // Whether "0.5" in quotes is as good as 0.5: some clients write all options as strings.
  enum class Numbers { kStrict, kAlsoInStrings };

  // `path`: what fields are called in errors, such as "messages[0]"; "" at the top. Errors:
  // INVALID_ARGUMENT, JSON_INVALID (also text that is not UTF-8), or OPTION_INVALID for what is no
  // object.
  static absl::StatusOr<JsonReader> Parse(std::string_view text, std::string path,
                                          Numbers numbers = Numbers::kStrict);
  static absl::StatusOr<JsonReader> Create(nlohmann::json value, std::string path,
                                           Numbers numbers = Numbers::kStrict);

  // Each leaves `*value` alone when the key is absent or null. Errors: OPTION_INVALID.
  absl::Status Read(const std::string& key, std::optional<bool>* value);
  absl::Status Read(const std::string& key, std::optional<float>* value);
  absl::Status Read(const std::string& key, std::optional<double>* value);
  absl::Status Read(const std::string& key, std::optional<int32_t>* value);
  absl::Status Read(const std::string& key, std::optional<uint64_t>* value);
  absl::Status Read(const std::string& key, std::string* value);
  // A list of strings, or one string.
  absl::Status Read(const std::string& key, std::vector<std::string>* value);
  absl::Status Read(const std::string& key, std::vector<int32_t>* value);

  // Calls the setter of a message with the value, if there is one.
  template <typename Message, typename Value>
  absl::Status Set(const std::string& key, Message* message, void (Message::*set)(Value)) {
    std::optional<Value> value;
    KVP_RETURN_IF_ERROR(Read(key, &value));
    if (value.has_value()) (message->*set)(*value);
    return absl::OkStatus();
  }

  // The value, or null when it is absent; the caller looks at its type.
  const nlohmann::json& Value(const std::string& key);
  // A nested object; an absent or null key gives an empty one.
  absl::StatusOr<JsonReader> Object(const std::string& key);
  absl::StatusOr<std::vector<JsonReader>> ListOfObjects(const std::string& key);
  // Keys that may be there and mean nothing to us.
  void Ignore(std::initializer_list<const char*> keys) { known_.insert(keys.begin(), keys.end()); }
  bool empty() const { return object_.empty(); }

  // OPTION_INVALID naming the field.
  absl::Status Error(const std::string& key, const std::string& rule) const;
  // OPTION_UNKNOWN for the first key that was never read.
  absl::Status CheckNoOtherKeys() const;

 private:
  JsonReader(nlohmann::json object, std::string path, Numbers numbers)
      : object_(std::move(object)), path_(std::move(path)), numbers_(numbers) {}
  std::string Path(const std::string& key) const;
  absl::StatusOr<double> Number(const std::string& key, const nlohmann::json& value) const;
  template <typename Integer>
  absl::StatusOr<Integer> Whole(const std::string& key, const nlohmann::json& value) const;

  nlohmann::json object_;
  std::string path_;
  Numbers numbers_;
  std::set<std::string> known_;
};

}  // namespace kvpareto::server
