// Who has been promised how much, and what each class may still be promised: the shares of an SLO
// as arithmetic.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "engine/policy/slo.h"

namespace kvpareto {

// KV bytes and places among the running sequences.
struct Holding {
  uint64_t bytes = 0;
  uint64_t sequences = 0;
};

// The rule, for bytes and for sequences alike, with limit L, guaranteed share G_c * L and burst
// share B_c * L of a class c that holds R_c: class c may take x more if R_c + x <= B_c * L, and if
// either R_c + x <= G_c * L, or what all classes hold or have guaranteed, whichever is more, plus
// x, stays within L: sum over classes d of max(R_d, G_d * L) + growth of c's term <= L. So what is
// guaranteed is always there.
class ClassLedger {
 public:
  // `slo` outlives the ledger.
  ClassLedger(const ModelSlo& slo, uint64_t capacity_bytes, int max_sequences);

  void Add(const std::string& service_class, const Holding& holding);

  // Whether the class may take this much more; `guaranteed_only`: of its guaranteed share.
  bool Allows(const std::string& service_class, const Holding& more, bool guaranteed_only) const;
  // Within the guaranteed share.
  bool Guaranteed(const std::string& service_class, const Holding& more) const;
  // How many bytes must be given back until the class's shares allow `bytes` more; 0: none.
  uint64_t Shortfall(const std::string& service_class, uint64_t bytes) const;
  uint64_t OwnShortfall(const std::string& service_class, uint64_t bytes) const;  // of its burst
  // What the class could take now. The shares of other classes count, what the arena holds of
  // others than requests does not.
  uint64_t Room(const std::string& service_class) const;
  // The most that the class can ever hold, when no other class holds more than is guaranteed to it.
  Holding Most(const std::string& service_class) const;
  // Whether giving back memory of class `holder` would make room for `service_class`: it is the
  // same, or holds more than is guaranteed to it.
  bool Helps(const std::string& holder, const std::string& service_class) const;

  uint64_t limit_bytes() const { return limit_.bytes; }
  uint64_t held_bytes() const { return held_.bytes; }
  uint64_t BurstBytes(const std::string& service_class) const;

 private:
  const Holding& Of(const std::string& service_class) const;
  Holding GuaranteedTo(const std::string& service_class) const;
  // Of all classes but one: what is held or guaranteed, whichever is more.
  Holding Claimed(const std::string& but) const;

  const ModelSlo* slo_;
  Holding limit_;
  Holding held_;                             // by all
  std::map<std::string, Holding> by_class_;  // of those that hold something
};

}  // namespace kvpareto
