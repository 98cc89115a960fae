// The models of this server, by name.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "engine/engine.h"
#include "server/config.h"
#include "server/status.h"

namespace kvpareto::server {

// Immutable after construction; thread-safe.
class Models {
 public:
  using Map = std::map<std::string, std::unique_ptr<Engine>>;
  struct Entry {
    std::string name;
    Engine* engine = nullptr;
  };

  // `engines` is not empty and has `default_name`.
  Models(Map engines, std::string default_name);
  // Loads every model of the configuration, one after the other.
  static absl::StatusOr<std::unique_ptr<Models>> Load(const ServerConfig& config);

  // The model of that name, or the default one when it is empty. Errors: NOT_FOUND
  // (MODEL_NOT_FOUND).
  absl::StatusOr<Entry> Find(const std::string& name) const;
  const Map& engines() const { return engines_; }
  const std::string& default_name() const { return default_name_; }

 private:
  Map engines_;
  std::string default_name_;
};

}  // namespace kvpareto::server
