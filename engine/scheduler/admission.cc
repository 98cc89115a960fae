#include "engine/scheduler/admission.h"

#include <algorithm>
#include <utility>

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
  FreeCached(Minus(parts_.arena->stats().reserved_bytes, Limit()));
  if (pressed_) Shrink(Minus(held, low), nullptr);
}

// Under the smallest plan that its class lets it have.
uint64_t Admission::LeastBytes(const ActiveRequest& request) const {
  const std::vector<Plan>& plans = request.prepared.alternatives;
  const bool bends = RulesOf(request).Allows(PressureAction::kAdmitLower);
  return (bends ? plans.back() : plans.front()).kv_peak_bytes;
}

AdmissionVerdict Admission::Try(ActiveRequest& request, bool guaranteed_only) {
  const ClassSlo& rules = RulesOf(request);
  const PreparedRequest& prepared = request.prepared;
  const Holding smallest{.bytes = LeastBytes(request),
                         .sequences = static_cast<uint64_t>(prepared.request.num_sequences)};
  const Holding most = state_.ledger.Most(request.service_class());
  if (smallest.bytes > most.bytes || smallest.sequences > most.sequences) {
    return AdmissionVerdict::kTooLarge;
  }
  bool lower = guaranteed_only && rules.Allows(PressureAction::kAdmitLower);
  if (Take(request, lower, guaranteed_only)) return AdmissionVerdict::kAdmitted;
  const bool sequences_fit = state_.ledger.Allows(
      request.service_class(), {.bytes = 0, .sequences = smallest.sequences}, guaranteed_only);
  for (const PressureAction action : rules.pressure) {
    if (action == PressureAction::kQueue) return Waits(request);
    if (action == PressureAction::kRefuse) break;
    if (guaranteed_only || !sequences_fit) continue;  // memory would not help
    const uint64_t wanted =
        (lower ? prepared.alternatives.back() : prepared.alternatives.front()).kv_peak_bytes;
    if (action == PressureAction::kAdmitLower) lower = true;
    if (action == PressureAction::kShedPrefixCache && !Shed(request, wanted)) continue;
    if (action == PressureAction::kRequantize && !Requantize(request, wanted)) continue;
    if (Take(request, lower, guaranteed_only)) return AdmissionVerdict::kAdmitted;
  }
  return AdmissionVerdict::kRefused;
}

// Whether the class's shares and the arena have room. What is guaranteed, and what is the only
// request, is not kept waiting by cached blocks.
bool Admission::Fits(const ActiveRequest& request, const Plan& plan, bool guaranteed_only) {
  const std::string& name = request.service_class();
  const Holding more{.bytes = plan.kv_peak_bytes,
                     .sequences = static_cast<uint64_t>(request.prepared.request.num_sequences)};
  if (!state_.ledger.Allows(name, more, guaranteed_only)) return false;
  const bool guaranteed = state_.ledger.Guaranteed(name, more);
  const uint64_t bound = guaranteed ? capacity_bytes_ : Limit();
  const uint64_t missing = Minus(parts_.arena->stats().reserved_bytes + more.bytes, bound);
  if (missing == 0) return true;
  return (guaranteed || parts_.running->empty()) && FreeCached(missing) >= missing;
}

// The best plan that fits; above the soft limit, the smallest.
const Plan* Admission::Choose(const ActiveRequest& request, bool lower, bool guaranteed_only) {
  const std::vector<Plan>& plans = request.prepared.alternatives;
  const bool bends = RulesOf(request).Allows(PressureAction::kAdmitLower) && plans.size() > 1;
  const uint64_t held = state_.ledger.held_bytes();
  for (size_t i = 0; i < (lower ? plans.size() : 1); ++i) {
    const bool last = i + 1 == plans.size();
    if (bends && !last && held + plans[i].kv_peak_bytes > SoftLimit()) continue;
    if (Fits(request, plans[i], guaranteed_only)) return &plans[i];
  }
  return nullptr;
}

bool Admission::Take(ActiveRequest& request, bool lower, bool guaranteed_only) {
  const Plan* plan = Choose(request, lower, guaranteed_only);
  if (plan == nullptr || !parts_.arena->Reserve(plan->kv_peak_bytes)) return false;
  if (plan != &request.prepared.alternatives.front()) Count(request, PressureAction::kAdmitLower);
  request.prepared.plan = *plan;
  request.reserved_bytes = plan->kv_peak_bytes;
  state_.ledger.Add(request.service_class(),
                    {.bytes = plan->kv_peak_bytes,
                     .sequences = static_cast<uint64_t>(request.prepared.request.num_sequences)});
  return true;
}

AdmissionVerdict Admission::Waits(const ActiveRequest& request) const {
  const std::string& name = request.service_class();
  return state_.ledger.OwnShortfall(name, LeastBytes(request)) > 0
             ? AdmissionVerdict::kWaitsForClass
             : AdmissionVerdict::kWaitsForMemory;
}

// Helps only where nothing but cached blocks stands in the way.
bool Admission::Shed(const ActiveRequest& request, uint64_t bytes) {
  if (state_.ledger.Shortfall(request.service_class(), bytes) > 0) return false;
  if (FreeCached(Minus(parts_.arena->stats().reserved_bytes + bytes, Limit())) == 0) return false;
  Count(request, PressureAction::kShedPrefixCache);
  return true;
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

uint64_t Admission::FreeCached(uint64_t bytes) {
  if (bytes == 0 || parts_.prefix_cache == nullptr) return 0;
  return parts_.prefix_cache->Free(
      {.wanted_bytes = bytes, .running = *parts_.running, .may_shrink = nullptr});
}

// `for_class`: whom it is for; null: for everybody.
uint64_t Admission::Shrink(uint64_t bytes, const std::string* for_class) {
  if (bytes == 0 || parts_.requantizer == nullptr) return 0;
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
