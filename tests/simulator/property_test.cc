// What must hold for the scheduler whatever is asked of it: random SLOs, changes of SLO, traffic
// and prompts that begin alike, through the simulator, checked after every round.
#include <gtest/gtest.h>

#include <deque>
#include <set>

#include "tests/simulator/random_scenario.h"

namespace kvpareto::sim {
namespace {

constexpr int kScenarios = 2600;
constexpr int kMostRounds = 100'000;
constexpr int kRequestsPerScenario = 40;  // in all more than 100,000 random requests

// What one request met with. Lives as long as its scenario.
struct Record {
  bool accepted = false, admitted = false;
  int finishes = 0;
  absl::Status status;
  double target = 0.0;    // its own, raised to the floor when it was planned
  double accuracy = 1.0;  // of its last plan
  std::string row;        // likewise
  int encoded_twice = 0;  // changes of plan from codes to codes
};

class Sink final : public ResponseSink {
 public:
  explicit Sink(Record* record) : record_(record) {}
  void OnAdmitted(const Plan& plan) override {
    record_->admitted = true;
    Serve(plan);
  }
  void OnPlanChanged(const Plan& plan) override {
    if (record_->row != "bf16") ++record_->encoded_twice;
    Serve(plan);
  }
  void OnDelta(Delta /*delta*/) override {}
  void OnFinish(const absl::Status& status, const Usage& /*usage*/) override {
    ++record_->finishes;
    record_->status = status;
  }

 private:
  void Serve(const Plan& plan) {
    record_->row = plan.row_name;
    record_->accuracy = plan.accuracy.value_or(0.0);
    EXPECT_GE(record_->accuracy, record_->target);
  }

  Record* const record_;
};

// Holds after every round.
void CheckArena(Replica& replica) {
  const PrefixCache& cache = replica.core().prefix_cache();
  uint64_t reserved = cache.used_bytes(), allocated = cache.used_bytes() + cache.cached_bytes();
  for (const auto& request : replica.core().running()) {
    uint64_t own = 0;
    for (const auto& sequence : request->sequences) {
      if (sequence) own += sequence->cache().own_bytes();
    }
    EXPECT_LE(own, request->reserved_bytes);
    reserved += request->reserved_bytes;
    allocated += own;
  }
  const kv::ArenaStats arena = replica.arena().stats();
  EXPECT_EQ(reserved, arena.reserved_bytes);
  EXPECT_EQ(allocated, arena.allocated_bytes);
  EXPECT_LE(arena.reserved_bytes + arena.cached_bytes, arena.capacity_bytes);
}

// The metrics of a scrape add up to what the arena says.
void CheckMetrics(Replica& replica) {
  replica.core().Publish();
  const EngineStats stats = replica.core().stats().Snapshot();
  uint64_t allocated = 0;
  for (const auto& [key, bytes] : stats.kv) allocated += bytes.allocated_bytes;
  for (const auto& [label, bytes] : stats.cached_bytes) allocated += bytes;
  EXPECT_EQ(allocated, replica.arena().stats().allocated_bytes);
}

// The first waiting request of a class is not one that its guaranteed share has room for, unless
// others still hold, from before a change of the SLO, what is guaranteed to it now.
void CheckGuarantees(Replica& replica) {
  const AdmissionState& state = replica.core().admission();
  std::set<std::string> seen;
  for (const auto& request : replica.core().waiting()) {
    const std::string& name = request->service_class();
    if (!seen.insert(name).second) continue;
    const std::vector<Plan>& plans = request->prepared.alternatives;
    const bool bends = state.slo->ClassFor(name).Allows(PressureAction::kAdmitLower);
    const Holding wanted{.bytes = (bends ? plans.back() : plans.front()).kv_peak_bytes,
                         .sequences = 1};
    const uint64_t capacity = replica.arena().stats().capacity_bytes;
    if (state.ledger.held_bytes() + wanted.bytes > capacity) continue;
    EXPECT_FALSE(state.ledger.Guaranteed(name, wanted))
        << name << " waits for " << wanted.bytes << " bytes that are guaranteed to it";
  }
}

struct Scenario {
  explicit Scenario(uint64_t seed)
      : random(seed), replica(random.Options(), &ScenarioModel(), &ScenarioTable()) {}

  void ChangeSlo() { replica.SetSlo(std::make_shared<const ModelSlo>(random.Slo())); }

  void Submit(double at) {
    const TraceRequest request = random.Request(at);
    Record& record = records.emplace_back();
    const ModelSlo& slo = *replica.core().admission().slo;
    const ClassSlo& rules = slo.ClassFor(request.service_class);
    record.target = std::max(request.kv.accuracy_target.value_or(slo.accuracy.value_or(0.0)),
                             rules.accuracy_floor.value_or(0.0));
    record.accepted =
        replica.Submit(request, std::to_string(records.size()), std::make_shared<Sink>(&record))
            .ok();
  }

  void Run() {
    ChangeSlo();
    double at = 0.0;
    for (int i = 0; i < kRequestsPerScenario; ++i) {
      at += random.Chance(0.5) ? 0.0 : 0.05 * random.Uniform();
      replica.AdvanceTo(Clock::time_point{
          std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(at))});
      if (random.Chance(0.02)) ChangeSlo();
      Submit(at);
    }
    replica.Finish();
  }

  RandomScenario random;
  Replica replica;
  std::deque<Record> records;
};

// Admitted requests end well, or by their own deadline; the others are told why not.
void CheckRecords(const std::deque<Record>& records) {
  for (const Record& record : records) {
    EXPECT_EQ(record.finishes, record.accepted ? 1 : 0);
    if (!record.admitted) continue;
    EXPECT_TRUE(record.status.ok() || record.status.code() == absl::StatusCode::kDeadlineExceeded)
        << record.status;
  }
}

TEST(PropertyTest, TheSchedulerKeepsItsPromises) {
  uint64_t admitted = 0, refused = 0, lowered = 0, encoded_twice = 0, found = 0;
  for (uint64_t seed = 0; seed < kScenarios && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Scenario scenario(seed);
    int round = 0;
    scenario.replica.SetObserver([&] {
      CheckArena(scenario.replica);
      CheckGuarantees(scenario.replica);
      if (++round % 16 == 0) CheckMetrics(scenario.replica);
      if (round == kMostRounds) {  // nothing waits for ever
        scenario.replica.core().FinishAll(absl::InternalError("it does not end"));
      }
    });
    scenario.Run();
    CheckRecords(scenario.records);
    const kv::ArenaStats left = scenario.replica.arena().stats();
    EXPECT_EQ(left.reserved_bytes, 0u);
    EXPECT_EQ(left.allocated_bytes, left.cached_bytes);
    for (const Record& record : scenario.records) {
      ++(record.admitted ? admitted : refused);
      encoded_twice += record.encoded_twice;
    }
    scenario.replica.core().Publish();
    const EngineStats stats = scenario.replica.core().stats().Snapshot();
    lowered += stats.pressure_actions_total.size();
    found += stats.prefix_hit_tokens_total;
  }
  // The scenarios reach what they are for.
  EXPECT_GT(admitted, uint64_t{kScenarios} * 10);
  EXPECT_GT(refused, uint64_t{kScenarios});
  EXPECT_GT(lowered, uint64_t{kScenarios} / 4);
  EXPECT_GT(encoded_twice, uint64_t{kScenarios} / 100);
  EXPECT_GT(found, uint64_t{kScenarios} * 100);
}

}  // namespace
}  // namespace kvpareto::sim
