// kvpareto-sim: how many requests a server or a fleet would hold, and how long they would wait.
#include <chrono>
#include <iostream>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/flags/usage_config.h"
#include "absl/strings/match.h"
#include "autotuner/simulator/fleet.h"
#include "autotuner/simulator/report.h"
#include "autotuner/simulator/shape.h"
#include "autotuner/simulator/slo_check.h"
#include "engine/base/units.h"
#include "engine/model/transformer.h"

ABSL_FLAG(std::string, table, "", "Pareto table (YAML)");
ABSL_FLAG(std::string, shape, "llama-3.1-8b", "model: a name, or layers=32 hidden=4096 ...");
ABSL_FLAG(std::string, capacity, "1GiB", "KV memory of each replica");
ABSL_FLAG(std::string, slo, "", "memory SLOs (YAML); none: everybody may take all");
ABSL_FLAG(std::string, model, "", "whose SLO of the file; none: the first");
ABSL_FLAG(std::string, trace, "", "requests (JSONL or CSV)");
ABSL_FLAG(std::vector<std::string>, traffic, {},
          "instead of a trace: class=default rate=2 burst=1 prompt=lognormal:4000:0.8 output=256 "
          "shared=1000 accuracy=0.97 objective=memory config=NAME; several with commas");
ABSL_FLAG(double, seconds, 600, "for which traffic arrives");
ABSL_FLAG(uint64_t, seed, 1, "of the traffic");
ABSL_FLAG(int, replicas, 1, "behind a balancer that prefers the least loaded");
ABSL_FLAG(std::string, weights, "", "bytes of the weights; none: 4.5 bits each");
ABSL_FLAG(double, bandwidth, 0, "bytes/s of memory; 0: from the table's speed points");
ABSL_FLAG(double, flops, 0, "operations/s of prefill; 0: from the table's speed points");
ABSL_FLAG(double, overhead, 0, "seconds of every step besides");
ABSL_FLAG(std::string, prefix_cache, "0", "as in the server's configuration");
ABSL_FLAG(int, max_step_tokens, 1024, "as in the server's configuration");
ABSL_FLAG(int, max_running_sequences, 64, "as in the server's configuration");
ABSL_FLAG(int, max_queued_requests, 256, "as in the server's configuration");

namespace kvpareto::sim {
namespace {

constexpr size_t kActivationBytes = 2;  // bf16
constexpr double kDefaultBitsPerWeight = 4.5;

struct Setup {
  ModelConfig model;
  ParetoTable table;
  ReplicaOptions options;
  ModelSlo slo;
};

absl::StatusOr<ModelSlo> FindSlo() {
  if (absl::GetFlag(FLAGS_slo).empty()) return ModelSlo{.model = "(no SLO)"};
  KVP_ASSIGN_OR_RETURN(const SloFile file, LoadSlo(absl::GetFlag(FLAGS_slo)));
  const std::string name = absl::GetFlag(FLAGS_model);
  const ModelSlo* slo = name.empty() && !file.models.empty() ? &file.models[0] : file.Find(name);
  if (slo != nullptr) return *slo;
  return absl::NotFoundError("the SLO file has no model '" + name + "'");
}

absl::StatusOr<Setup> MakeSetup() {
  Setup setup;
  KVP_ASSIGN_OR_RETURN(setup.model, ParseShape(absl::GetFlag(FLAGS_shape)));
  KVP_ASSIGN_OR_RETURN(setup.table, LoadParetoTable(absl::GetFlag(FLAGS_table)));
  KVP_ASSIGN_OR_RETURN(setup.slo, FindSlo());
  KVP_ASSIGN_OR_RETURN(setup.options.capacity_bytes, ParseByteSize(absl::GetFlag(FLAGS_capacity)));
  double weights = static_cast<double>(WeightElements(setup.model)) * kDefaultBitsPerWeight / 8.0;
  if (const std::string text = absl::GetFlag(FLAGS_weights); !text.empty()) {
    KVP_ASSIGN_OR_RETURN(weights, ParseByteSize(text));
  }
  KVP_ASSIGN_OR_RETURN(setup.options.cost,
                       MakeCostModel(setup.model, setup.table, weights,
                                     {.bytes_per_second = absl::GetFlag(FLAGS_bandwidth),
                                      .flops_per_second = absl::GetFlag(FLAGS_flops),
                                      .overhead_seconds = absl::GetFlag(FLAGS_overhead)}));
  setup.options.scheduling = {.max_prefill_rows = absl::GetFlag(FLAGS_max_step_tokens),
                              .max_running_sequences = absl::GetFlag(FLAGS_max_running_sequences),
                              .max_queued_requests = absl::GetFlag(FLAGS_max_queued_requests)};
  KVP_ASSIGN_OR_RETURN(setup.options.scheduling.prefix_cache_bytes,
                       ParseByteSize(absl::GetFlag(FLAGS_prefix_cache)));
  for (const ParetoRow& row : setup.table.rows) {
    KVP_RETURN_IF_ERROR(row.config.ValidateFor(setup.model));
    if (row.config.prefill_chunk_tokens > setup.options.scheduling.max_prefill_rows) {
      return absl::InvalidArgumentError("--max_step_tokens is below the chunk of row " + row.name);
    }
  }
  KVP_RETURN_IF_ERROR(CheckSlo(setup.slo, setup.table, setup.options.capacity_bytes));
  return setup;
}

WorkspaceFn Workspace(const ModelConfig& model) {
  return [&model](int chunk) {
    return Transformer::WorkspaceShareBytes(model, chunk, kActivationBytes);
  };
}

absl::StatusOr<std::vector<TraceRequest>> FindTrace() {
  if (!absl::GetFlag(FLAGS_trace).empty()) return ReadTrace(absl::GetFlag(FLAGS_trace));
  std::vector<Traffic> traffic;
  for (const std::string& text : absl::GetFlag(FLAGS_traffic)) {
    KVP_ASSIGN_OR_RETURN(traffic.emplace_back(), ParseTraffic(text));
  }
  if (traffic.empty()) return absl::InvalidArgumentError("neither --trace nor --traffic is given");
  return Generate(traffic, absl::GetFlag(FLAGS_seconds), absl::GetFlag(FLAGS_seed));
}

absl::Status Simulate() {
  KVP_ASSIGN_OR_RETURN(Setup setup, MakeSetup());
  KVP_ASSIGN_OR_RETURN(const std::vector<TraceRequest> trace, FindTrace());
  setup.options.workspace = Workspace(setup.model);
  const auto start = Clock::now();
  Fleet fleet(absl::GetFlag(FLAGS_replicas), setup.options, &setup.model, &setup.table);
  fleet.SetSlo(setup.slo);
  const FleetResult result = fleet.Run(trace);
  std::cout << FormatResult(result, Seconds(Clock::now() - start));
  return absl::OkStatus();
}

// Offline: what `kvpareto slo check FILE` shows.
absl::Status CheckFile(const std::string& path) {
  absl::SetFlag(&FLAGS_slo, path);
  absl::SetFlag(&FLAGS_bandwidth, 1.0);  // nothing runs
  absl::SetFlag(&FLAGS_flops, 1.0);
  KVP_RETURN_IF_ERROR(LoadSlo(path).status());
  if (absl::GetFlag(FLAGS_table).empty()) {
    std::cout << path << ": valid; --table, --shape and --capacity show what fits\n";
    return absl::OkStatus();
  }
  KVP_ASSIGN_OR_RETURN(const Setup setup, MakeSetup());
  KVP_ASSIGN_OR_RETURN(const std::string text,
                       DescribeSlo(setup.slo, setup.table, setup.model,
                                   setup.options.capacity_bytes, Workspace(setup.model)));
  std::cout << text;
  return absl::OkStatus();
}

int Fail(const absl::Status& status) {
  std::cerr << "kvpareto-sim: " << status.message() << "\n";
  return status.code() == absl::StatusCode::kInvalidArgument ? 2 : 1;
}

// --help shows the flags of this file, and --version what it says.
void DescribeProgram() {
  absl::SetProgramUsageMessage(
      "Simulates a server or a fleet.\n"
      "  kvpareto-sim --table=FILE (--trace=FILE | --traffic='rate=2 prompt=4000 output=256')\n"
      "  kvpareto-sim slo check FILE [--table=FILE --shape=NAME --capacity=80GB]");
  absl::FlagsUsageConfig usage;
  usage.contains_help_flags = [](absl::string_view file) {
    return absl::EndsWith(file, "autotuner/simulator/main.cc");
  };
  usage.version_string = [] { return std::string("kvpareto-sim " KVPARETO_VERSION "\n"); };
  absl::SetFlagsUsageConfig(usage);
}

}  // namespace
}  // namespace kvpareto::sim

int main(int argc, char** argv) {
  kvpareto::sim::DescribeProgram();
  const std::vector<char*> rest = absl::ParseCommandLine(argc, argv);
  const std::vector<std::string> words(rest.begin() + 1, rest.end());
  absl::Status status;
  if (words.empty()) {
    status = kvpareto::sim::Simulate();
  } else if (words.size() == 3 && words[0] == "slo" && words[1] == "check") {
    status = kvpareto::sim::CheckFile(words[2]);
  } else {
    status = absl::InvalidArgumentError("unknown words; see --help");
  }
  return status.ok() ? 0 : kvpareto::sim::Fail(status);
}
