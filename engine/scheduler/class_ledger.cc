#include "engine/scheduler/class_ledger.h"

#include <algorithm>
#include <cmath>

namespace kvpareto {
namespace {

uint64_t Share(double share, uint64_t whole) {
  return std::min(whole, static_cast<uint64_t>(std::floor(share * static_cast<double>(whole))));
}

uint64_t Minus(uint64_t a, uint64_t b) { return a > b ? a - b : 0; }

}  // namespace

ClassLedger::ClassLedger(const ModelSlo& slo, uint64_t capacity_bytes, int max_sequences)
    : slo_(&slo),
      limit_{.bytes = slo.LimitBytes(capacity_bytes),
             .sequences = static_cast<uint64_t>(max_sequences)} {}

void ClassLedger::Add(const std::string& service_class, const Holding& holding) {
  for (Holding* sum : {&held_, &by_class_[service_class]}) {
    sum->bytes += holding.bytes;
    sum->sequences += holding.sequences;
  }
}

const Holding& ClassLedger::Of(const std::string& service_class) const {
  static const Holding kNothing;
  const auto found = by_class_.find(service_class);
  return found == by_class_.end() ? kNothing : found->second;
}

// Guarantees belong to the classes that the SLO lists: one that follows the rules of "default" does
// not share its guarantee.
Holding ClassLedger::GuaranteedTo(const std::string& service_class) const {
  const ClassSlo& rules = slo_->ClassFor(service_class);
  if (rules.name != service_class) return {};
  return {.bytes = Share(rules.guaranteed_share, limit_.bytes),
          .sequences = Share(rules.guaranteed_share, limit_.sequences)};
}

uint64_t ClassLedger::BurstBytes(const std::string& service_class) const {
  return Share(slo_->ClassFor(service_class).burst_share, limit_.bytes);
}

Holding ClassLedger::Claimed(const std::string& but) const {
  const Holding& own = Of(but);
  Holding claimed{.bytes = held_.bytes - own.bytes, .sequences = held_.sequences - own.sequences};
  for (const ClassSlo& rules : slo_->classes) {
    if (rules.name == but) continue;
    const Holding guaranteed = GuaranteedTo(rules.name);
    const Holding& held = Of(rules.name);
    claimed.bytes += Minus(guaranteed.bytes, held.bytes);
    claimed.sequences += Minus(guaranteed.sequences, held.sequences);
  }
  return claimed;
}

bool ClassLedger::Guaranteed(const std::string& service_class, const Holding& more) const {
  const Holding& own = Of(service_class);
  const Holding guaranteed = GuaranteedTo(service_class);
  return own.bytes + more.bytes <= guaranteed.bytes &&
         own.sequences + more.sequences <= guaranteed.sequences;
}

bool ClassLedger::Allows(const std::string& service_class, const Holding& more,
                         bool guaranteed_only) const {
  if (Guaranteed(service_class, more)) return true;
  if (guaranteed_only) return false;
  const Holding& own = Of(service_class);
  const Holding claimed = Claimed(service_class);
  return own.bytes + more.bytes <= BurstBytes(service_class) &&
         claimed.bytes + own.bytes + more.bytes <= limit_.bytes &&
         claimed.sequences + own.sequences + more.sequences <= limit_.sequences;
}

uint64_t ClassLedger::OwnShortfall(const std::string& service_class, uint64_t bytes) const {
  return Minus(Of(service_class).bytes + bytes, BurstBytes(service_class));
}

uint64_t ClassLedger::Shortfall(const std::string& service_class, uint64_t bytes) const {
  const uint64_t own = Of(service_class).bytes + bytes;
  if (own <= GuaranteedTo(service_class).bytes) return 0;
  return std::max(OwnShortfall(service_class, bytes),
                  Minus(Claimed(service_class).bytes + own, limit_.bytes));
}

uint64_t ClassLedger::Room(const std::string& service_class) const {
  const uint64_t own = Of(service_class).bytes;
  const uint64_t shared = Minus(limit_.bytes, Claimed(service_class).bytes + own);
  return std::max(std::min(Minus(BurstBytes(service_class), own), shared),
                  Minus(GuaranteedTo(service_class).bytes, own));
}

Holding ClassLedger::Most(const std::string& service_class) const {
  Holding most = limit_;
  for (const ClassSlo& rules : slo_->classes) {
    if (rules.name == service_class) continue;
    const Holding guaranteed = GuaranteedTo(rules.name);
    most.bytes = Minus(most.bytes, guaranteed.bytes);
    most.sequences = Minus(most.sequences, guaranteed.sequences);
  }
  most.bytes = std::min(most.bytes, BurstBytes(service_class));
  return most;
}

bool ClassLedger::Helps(const std::string& holder, const std::string& service_class) const {
  return holder == service_class || Of(holder).bytes > GuaranteedTo(holder).bytes;
}

}  // namespace kvpareto
