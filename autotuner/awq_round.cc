#include "autotuner/awq_round.h"

#include <initializer_list>
#include <optional>

#include "absl/strings/str_cat.h"
#include "autotuner/awq_clip.h"
#include "autotuner/gptq.h"

namespace kvpareto::tune {
namespace {

class LayerRounder {
 public:
  LayerRounder(const AwqLayer& layer, const AwqInputs& inputs, const AwqRoundOptions& options)
      : layer_(layer), inputs_(inputs), options_(options) {}

  // Linear layers with one Hessian.
  absl::Status Round(std::initializer_list<Linear> linears, AwqCodes& codes) const {
    std::optional<ErrorFeedback> feedback;
    if (options_.rounding == Rounding::kGptq) {
      auto created = ErrorFeedback::Create(inputs_.HessianOf(*linears.begin()), options_.threads);
      if (!created.ok()) {
        return Annotate(created.status(), absl::StrCat("layer ", layer_.index));
      }
      feedback = *std::move(created);
    }
    for (const Linear linear : linears) {
      GroupCodes& to = codes[static_cast<size_t>(linear)];
      to = EncodeGroups(Clipped(linear), options_.group_size);
      if (feedback) RoundWithFeedback(layer_[linear], *feedback, options_.threads, to);
    }
    return absl::OkStatus();
  }

 private:
  // Clips of other layers than V save square error and lose likelihood (docs/awq.md).
  Matrix Clipped(Linear linear) const {
    Matrix w = layer_[linear];
    if (options_.clip && linear == Linear::kValue) {
      ClipGroups(inputs_[LayerInput::kAttention].view(), inputs_.value_weights, options_.group_size,
                 options_.threads, w);
    }
    return w;
  }

  const AwqLayer& layer_;
  const AwqInputs& inputs_;
  const AwqRoundOptions& options_;
};

}  // namespace

absl::StatusOr<AwqCodes> RoundLayer(const AwqLayer& layer, const AwqInputs& inputs,
                                    const AwqRoundOptions& options) {
  const LayerRounder rounder(layer, inputs, options);
  AwqCodes codes;
  KVP_RETURN_IF_ERROR(rounder.Round({Linear::kQuery, Linear::kKey}, codes));
  KVP_RETURN_IF_ERROR(rounder.Round({Linear::kValue}, codes));
  KVP_RETURN_IF_ERROR(rounder.Round({Linear::kOutput}, codes));
  KVP_RETURN_IF_ERROR(rounder.Round({Linear::kGate, Linear::kUp}, codes));
  KVP_RETURN_IF_ERROR(rounder.Round({Linear::kDown}, codes));
  return codes;
}

}  // namespace kvpareto::tune
