#include "server/oip/model_facts.h"

#include <array>

#include "server/memory_snapshot.h"
#include "server/oip/convert.h"

namespace kvpareto::server::oip {
namespace {

constexpr char kPlatform[] = "kvpareto";

struct TensorFact {
  const char* name;
  const char* datatype;
  inference::DataType config_type;
  int64_t elements;  // -1: any number
};

// Every model has the same tensors; all inputs but the first are optional.
constexpr TensorFact kInputs[] = {
    {"text_input", "BYTES", inference::TYPE_STRING, 1},
    {"stream", "BOOL", inference::TYPE_BOOL, 1},
    {"sampling_parameters", "BYTES", inference::TYPE_STRING, 1},
    {"exclude_input_in_output", "BOOL", inference::TYPE_BOOL, 1},
    {"return_finish_reason", "BOOL", inference::TYPE_BOOL, 1},
    {"return_num_input_tokens", "BOOL", inference::TYPE_BOOL, 1},
    {"return_num_output_tokens", "BOOL", inference::TYPE_BOOL, 1},
    {"max_tokens", "INT32", inference::TYPE_INT32, 1},
    {"stop_words", "BYTES", inference::TYPE_STRING, -1},
    {"bad_words", "BYTES", inference::TYPE_STRING, -1},
    {"temperature", "FP32", inference::TYPE_FP32, 1},
    {"top_k", "INT32", inference::TYPE_INT32, 1},
    {"top_p", "FP32", inference::TYPE_FP32, 1},
};
constexpr TensorFact kOutputs[] = {
    {kTextOutput, "BYTES", inference::TYPE_STRING, 1},
    {kFinishReason, "BYTES", inference::TYPE_STRING, 1},
    {kNumInputTokens, "INT32", inference::TYPE_INT32, 1},
    {kNumOutputTokens, "INT32", inference::TYPE_INT32, 1},
    {kCumLogProbs, "FP32", inference::TYPE_FP32, 1},
};

void SetTensor(const TensorFact& fact, inference::ModelMetadataResponse::TensorMetadata* tensor) {
  tensor->set_name(fact.name);
  tensor->set_datatype(fact.datatype);
  tensor->add_shape(fact.elements);
}

struct Sum {
  uint64_t count = 0;
  double seconds = 0.0;
};

Sum SumOf(const std::map<std::string, HistogramSnapshot>& histograms) {
  Sum sum;
  for (const auto& [name, histogram] : histograms) {
    for (const uint64_t count : histogram.counts) sum.count += count;
    sum.seconds += histogram.sum;
  }
  return sum;
}

void Set(uint64_t count, double seconds, inference::StatisticDuration* duration) {
  duration->set_count(count);
  duration->set_ns(static_cast<uint64_t>(seconds * 1e9));
}

void AddMemory(const EngineStats& stats, inference::ModelStatistics* proto) {
  const MemoryTotals totals = Totals(stats);
  const std::pair<const char*, uint64_t> sizes[] = {{"kv_capacity", stats.capacity_bytes},
                                                    {"kv_reserved", totals.reserved_bytes},
                                                    {"kv_allocated", stats.arena_allocated_bytes},
                                                    {"kv_live", totals.live_bytes},
                                                    {"weights", stats.weights_bytes},
                                                    {"workspace", stats.workspace_bytes}};
  for (const auto& [type, bytes] : sizes) {
    inference::MemoryUsage* usage = proto->add_memory_usage();
    usage->set_type(type);
    usage->set_byte_size(bytes);
  }
}

}  // namespace

inference::ModelMetadataResponse Metadata(const std::string& name) {
  inference::ModelMetadataResponse proto;
  proto.set_name(name);
  proto.add_versions(kVersion);
  proto.set_platform(kPlatform);
  for (const TensorFact& fact : kInputs) SetTensor(fact, proto.add_inputs());
  for (const TensorFact& fact : kOutputs) SetTensor(fact, proto.add_outputs());
  return proto;
}

inference::ModelConfig Config(const std::string& name, const Engine& engine) {
  inference::ModelConfig proto;
  proto.set_name(name);
  proto.set_platform(kPlatform);
  proto.set_backend(kPlatform);
  proto.mutable_model_transaction_policy()->set_decoupled(true);
  for (const TensorFact& fact : kInputs) {
    inference::ModelInput* input = proto.add_input();
    input->set_name(fact.name);
    input->set_data_type(fact.config_type);
    input->add_dims(fact.elements);
    input->set_optional(&fact != kInputs);
  }
  for (const TensorFact& fact : kOutputs) {
    inference::ModelOutput* output = proto.add_output();
    output->set_name(fact.name);
    output->set_data_type(fact.config_type);
    output->add_dims(fact.elements);
  }
  auto& parameters = *proto.mutable_parameters();
  const ModelInfo& info = engine.model();
  parameters["context_tokens"].set_string_value(std::to_string(info.config.context_tokens));
  parameters["fingerprint"].set_string_value(info.fingerprint);
  parameters["kv_capacity_bytes"].set_string_value(std::to_string(engine.Stats().capacity_bytes));
  return proto;
}

inference::ModelStatistics Statistics(const std::string& name, const Engine& engine,
                                      const RequestCounter& counter) {
  inference::ModelStatistics proto;
  proto.set_name(name);
  proto.set_version(kVersion);
  uint64_t succeeded = 0;
  uint64_t failed = 0;
  for (const auto& [key, count] : counter.Snapshot()) {
    if (key.model == name) (key.code == "OK" ? succeeded : failed) += count;
  }
  const EngineStats stats = engine.Stats();
  const Sum requests = SumOf(stats.request_seconds);
  const Sum queue = SumOf(stats.queue_seconds);
  proto.set_inference_count(succeeded);
  proto.set_execution_count(stats.steps_total);
  inference::InferStatistics* times = proto.mutable_inference_stats();
  Set(succeeded, requests.seconds, times->mutable_success());
  Set(failed, 0.0, times->mutable_fail());
  Set(queue.count, queue.seconds, times->mutable_queue());
  Set(requests.count, std::max(0.0, requests.seconds - queue.seconds),
      times->mutable_compute_infer());
  AddMemory(stats, &proto);
  return proto;
}

}  // namespace kvpareto::server::oip
