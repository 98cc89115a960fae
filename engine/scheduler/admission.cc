#include "engine/scheduler/admission.h"

#include <algorithm>
#include <utility>

#include "engine/base/check.h"

namespace kvpareto {
namespace {

uint64_t Minus(uint64_t a, uint64_t b) { return a > b ? a - b : 0; }

AdmissionState WithoutSlo(uint64_t capacity_bytes, int max_sequences) {
  auto slo = std::make_shared<const ModelSlo>();
  const ClassLedger nothing_held(*slo, capacity_bytes, max_sequences);
  return {.slo = std::move(slo), .ledger = nothing_held};
}

}  // namespace

MemoryState AdmissionState::MemoryFor(const std::string& service_class) const {
  const uint64_t most = ledger.Most(service_class).bytes;
  if (!slo->ClassFor(service_class).Allows(PressureAction::kAdmitLower)) {
    return {.capacity_bytes = most, .available_bytes = most};  // it plans as if it were alone
  }
  return {.capacity_bytes = most, .available_bytes = ledger.Room(service_class)};
}

Admission::Admission(const AdmissionParts& parts)
    : parts_(parts),
      capacity_bytes_(parts.arena->stats().capacity_bytes),
      state_(WithoutSlo(capacity_bytes_, parts.max_running_sequences)) {}

void Admission::SetSlo(std::shared_ptr<const ModelSlo> slo) {
  state_.slo = std::move(slo);
  CountHeld();
}

void Admission::CountHeld() {
  state_.ledger = ClassLedger(*state_.slo, capacity_bytes_, parts_.max_running_sequences);
  for (const auto& request : *parts_.running) {
    state_.ledger.Add(request->service_class(),
                      {.bytes = request->reserved_bytes, .sequences = request->sequences.size()});
  }
  for (const auto& [key, domain] : parts_.sharing->cache().domains()) {
    state_.ledger.Add(key.service_class, {.bytes = domain->used_bytes, .sequences = 0});
  }
}

uint64_t Admission::Watermark(double share) const {
  return static_cast<uint64_t>(share * static_cast<double>(Limit()));
}

// Up to here configs are chosen as requests wish.
uint64_t Admission::SoftLimit() const {
  return Watermark(pressed_ ? state_.slo->low_watermark : state_.slo->high_watermark);
}

void Admission::BeginRound(bool waiting) {
  CountHeld();
  const uint64_t low = Watermark(state_.slo->low_watermark);
  const uint64_t high = Watermark(state_.slo->high_watermark);
  const uint64_t held = state_.ledger.held_bytes();
  if (held > high || (waiting && held > low)) pressed_ = true;
  if (held <= low) pressed_ = false;
  TrimCache();
  if (pressed_) Shrink(Minus(held, low), nullptr);
}

// The smallest that its class lets it have.
const Plan& Admission::LeastPlan(const ActiveRequest& request) const {
  const std::vector<Plan>& plans = request.prepared.alternatives;
  const bool bends = RulesOf(request).Allows(PressureAction::kAdmitLower);
  return bends ? plans.back() : plans.front();
}

AdmissionVerdict Admission::Try(ActiveRequest& request, bool guaranteed_only) {
  const ClassSlo& rules = RulesOf(request);
  const PreparedRequest& prepared = request.prepared;
  const Holding smallest{.bytes = LeastPlan(request).kv_peak_bytes,
                         .sequences = static_cast<uint64_t>(prepared.request.num_sequences)};
  const Holding most = state_.ledger.Most(request.service_class());
  if (smallest.bytes > most.bytes || smallest.sequences > most.sequences) {
    return AdmissionVerdict::kTooLarge;
  }
  Terms terms{.lower = guaranteed_only && rules.Allows(PressureAction::kAdmitLower),
              .shed = guaranteed_only,
              .guaranteed_only = guaranteed_only};
  if (Take(request, terms)) return AdmissionVerdict::kAdmitted;
  const bool sequences_fit = state_.ledger.Allows(
      request.service_class(), {.bytes = 0, .sequences = smallest.sequences}, guaranteed_only);
  for (const PressureAction action : rules.pressure) {
    if (action == PressureAction::kQueue) return Waits(request);
    if (action == PressureAction::kRefuse) break;
    if (guaranteed_only || !sequences_fit) continue;  // memory would not help
    if (action == PressureAction::kAdmitLower) terms.lower = true;
    if (action == PressureAction::kShedPrefixCache) terms.shed = true;
    const Plan& wanted = terms.lower ? prepared.alternatives.back() : prepared.alternatives.front();
    if (action == PressureAction::kRequantize && !Requantize(request, Growth(request, wanted))) {
      continue;
    }
    if (Take(request, terms)) return AdmissionVerdict::kAdmitted;
  }
  return AdmissionVerdict::kRefused;
}

uint64_t Admission::Growth(const ActiveRequest& request, const Plan& plan) const {
  return plan.kv_peak_bytes - parts_.sharing->Find(request, plan.config).used_bytes;
}

// Whether the class's shares and the arena have room. What is guaranteed, and what is the only
// request, is not kept waiting by cached blocks.
bool Admission::Fits(const ActiveRequest& request, const Plan& plan, const Terms& terms) const {
  const std::string& name = request.service_class();
  const PrefixSharing::Hit hit = parts_.sharing->Find(request, plan.config);
  const Holding more{.bytes = plan.kv_peak_bytes - hit.used_bytes,
                     .sequences = static_cast<uint64_t>(request.prepared.request.num_sequences)};
  if (!state_.ledger.Allows(name, more, terms.guaranteed_only)) return false;
  const bool guaranteed = state_.ledger.Guaranteed(name, more);
  const uint64_t bound = guaranteed ? capacity_bytes_ : Limit();
  const kv::ArenaStats arena = parts_.arena->stats();
  if (arena.reserved_bytes + more.bytes > bound) return false;
  if (terms.shed || guaranteed || parts_.running->empty()) return true;
  const uint64_t own = plan.kv_peak_bytes - hit.bytes;  // the hit is reserved or cached already
  return arena.reserved_bytes + arena.cached_bytes + own <= bound;
}

// The best plan that fits; above the soft limit, the smallest.
const Plan* Admission::Choose(const ActiveRequest& request, const Terms& terms) const {
  const std::vector<Plan>& plans = request.prepared.alternatives;
  const bool bends = RulesOf(request).Allows(PressureAction::kAdmitLower) && plans.size() > 1;
  const uint64_t held = state_.ledger.held_bytes();
  for (size_t i = 0; i < (terms.lower ? plans.size() : 1); ++i) {
    const bool last = i + 1 == plans.size();
    if (bends && !last && held + Growth(request, plans[i]) > SoftLimit()) continue;
    if (Fits(request, plans[i], terms)) return &plans[i];
  }
  return nullptr;
}

bool Admission::Take(ActiveRequest& request, const Terms& terms) {
  const Plan* plan = Choose(request, terms);
  // A failure has made the hit shorter, so this ends.
  while (plan != nullptr && !Reserve(request, *plan)) plan = Choose(request, terms);
  if (plan == nullptr) return false;
  if (plan != &request.prepared.alternatives.front()) Count(request, PressureAction::kAdmitLower);
  request.prepared.plan = *plan;
  return true;
}

// Of a plan that fits. False: making room cost the prefix that it was to go on from.
bool Admission::Reserve(ActiveRequest& request, const Plan& plan) {
  const PrefixSharing::Hit hit = parts_.sharing->Find(request, plan.config);
  if (hit.prefix != nullptr) parts_.sharing->Pin(request, hit.prefix);
  const uint64_t own = plan.kv_peak_bytes - hit.bytes;
  const uint64_t cached = parts_.arena->stats().cached_bytes;
  KVP_CHECK(parts_.arena->Reserve(own)) << own << " bytes do not fit";
  TrimCache();
  if (parts_.arena->stats().cached_bytes < cached) {
    Count(request, PressureAction::kShedPrefixCache);
  }
  if (hit.prefix != nullptr && !hit.prefix->has_tail) {
    parts_.sharing->Unpin(request);
    parts_.arena->Unreserve(own);
    return false;
  }
  request.reserved_bytes = own;
  state_.ledger.Add(request.service_class(),
                    {.bytes = plan.kv_peak_bytes - hit.used_bytes,
                     .sequences = static_cast<uint64_t>(request.prepared.request.num_sequences)});
  return true;
}

AdmissionVerdict Admission::Waits(const ActiveRequest& request) const {
  const uint64_t growth = Growth(request, LeastPlan(request));
  return state_.ledger.OwnShortfall(request.service_class(), growth) > 0
             ? AdmissionVerdict::kWaitsForClass
             : AdmissionVerdict::kWaitsForMemory;
}

// Down to the low watermark, so that the next requests find room without another round of it.
bool Admission::Requantize(const ActiveRequest& request, uint64_t bytes) {
  const std::string& name = request.service_class();
  const uint64_t missing = std::max(state_.ledger.Shortfall(name, bytes),
                                    Minus(parts_.arena->stats().reserved_bytes + bytes, Limit()));
  if (missing == 0) return false;
  const uint64_t to_low =
      Minus(state_.ledger.held_bytes() + bytes, Watermark(state_.slo->low_watermark));
  if (Shrink(std::max(missing, to_low), &name) == 0) return false;
  Count(request, PressureAction::kRequantize);
  return true;
}

// The limit holds for what is cached, too.
void Admission::TrimCache() {
  const kv::ArenaStats arena = parts_.arena->stats();
  parts_.arena->Reclaim(Minus(arena.reserved_bytes + arena.cached_bytes, Limit()));
}

// `for_class`: whom it is for; null: for everybody.
uint64_t Admission::Shrink(uint64_t bytes, const std::string* for_class) {
  if (bytes == 0) return 0;
  const auto may_shrink = [&](const ActiveRequest& other) {
    return RulesOf(other).requantizable &&
           (for_class == nullptr || state_.ledger.Helps(other.service_class(), *for_class));
  };
  const uint64_t freed = parts_.requantizer->Free(
      {.wanted_bytes = bytes, .running = *parts_.running, .may_shrink = may_shrink});
  CountHeld();
  return freed;
}

}  // namespace kvpareto
