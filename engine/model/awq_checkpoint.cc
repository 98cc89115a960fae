#include "engine/model/awq_checkpoint.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "engine/model/model_error.h"

namespace kvpareto {
namespace {

constexpr int kBits = 4;
constexpr int kDefaultGroup = 128;
constexpr int64_t kMinGroup = 32;  // columns that kernels multiply at a time

constexpr std::string_view kCodes = ".qweight", kZeros = ".qzeros", kScales = ".scales";

absl::StatusOr<std::vector<std::string>> ReadModuleNames(const Json& quantization) {
  const Json& list = JsonMember(quantization, "modules_to_not_convert");
  std::vector<std::string> names;
  if (list.is_null()) return names;
  if (!list.is_array()) return InvalidModelConfig("modules_to_not_convert", "is no list");
  for (const Json& name : list) {
    if (!name.is_string() || name.get_ref<const std::string&>().empty()) {
      return InvalidModelConfig("modules_to_not_convert", "holds no module name");
    }
    names.push_back(name.get<std::string>());
  }
  return names;
}

absl::Status CheckVariant(const Json& quantization) {
  KVP_ASSIGN_OR_RETURN(const auto method, JsonString(quantization, "quant_method"));
  if (method != "awq") return UnsupportedQuantization("quant_method", method.value_or("(none)"));
  KVP_ASSIGN_OR_RETURN(const auto version, JsonString(quantization, "version"));
  if (absl::AsciiStrToLower(version.value_or("gemm")) != "gemm") {
    return UnsupportedQuantization("version", *version);
  }
  KVP_ASSIGN_OR_RETURN(const auto bits, JsonInt(quantization, "bits"));
  if (bits.value_or(kBits) != kBits) {
    return UnsupportedQuantization("bits", std::to_string(*bits));
  }
  KVP_ASSIGN_OR_RETURN(const auto zero_point, JsonBool(quantization, "zero_point"));
  if (!zero_point.value_or(true)) return UnsupportedQuantization("zero_point", "false");
  return absl::OkStatus();
}

std::string Shape(const TensorView& tensor) {
  std::string text = "[";
  for (size_t i = 0; i < tensor.shape.size(); ++i) {
    absl::StrAppend(&text, i > 0 ? ", " : "", tensor.shape[i]);
  }
  return text + "]";
}

// The part `suffix` of `module`, which is a matrix of `type`; it leaves the catalog.
absl::StatusOr<TensorView> TakePart(const std::string& module, std::string_view suffix,
                                    TensorType type, TensorCatalog& tensors) {
  const std::string name = module + std::string(suffix);
  const auto found = tensors.find(name);
  if (found == tensors.end()) {
    return CorruptFile("tensor " + Printable(module + std::string(kCodes)) + " is there without " +
                       Printable(name));
  }
  TensorView part = std::move(found->second);
  tensors.erase(found);
  if (part.type != type || part.shape.size() != 2) {
    return CorruptFile(absl::StrCat(
        "tensor ", Printable(name), ": a matrix of ", std::string(GetTensorTypeInfo(type).name),
        " is wanted, not ", Shape(part), " of ", std::string(GetTensorTypeInfo(part.type).name)));
  }
  return part;
}

absl::Status WrongPart(const std::string& module, std::string_view suffix, const TensorView& part,
                       int64_t rows, int64_t cols) {
  return CorruptFile(absl::StrCat("tensor ", Printable(module + std::string(suffix)),
                                  " has the shape ", Shape(part), ", the module's other parts ask ",
                                  "for [", rows, ", ", cols, "]"));
}

absl::StatusOr<TensorView> Combine(const AwqConfig& config, const std::string& module,
                                   TensorCatalog& tensors) {
  KVP_ASSIGN_OR_RETURN(const TensorView codes, TakePart(module, kCodes, TensorType::kI32, tensors));
  KVP_ASSIGN_OR_RETURN(const TensorView zeros, TakePart(module, kZeros, TensorType::kI32, tensors));
  KVP_ASSIGN_OR_RETURN(const TensorView scales,
                       TakePart(module, kScales, TensorType::kF16, tensors));
  const int64_t cols = codes.shape[0], words = codes.shape[1];
  const int64_t group = config.group_size < 0 ? cols : config.group_size;
  if (cols % group != 0) {
    return CorruptFile(absl::StrCat("tensor ", Printable(module + std::string(kCodes)), ": ", cols,
                                    " input features are not whole groups of ", group));
  }
  if (group % kMinGroup != 0) return UnsupportedQuantization("group_size", std::to_string(group));
  const int64_t groups = cols / group, rows = words * kAwqWordRows;
  if (zeros.shape != std::vector<int64_t>{groups, words}) {
    return WrongPart(module, kZeros, zeros, groups, words);
  }
  if (scales.shape != std::vector<int64_t>{groups, rows}) {
    return WrongPart(module, kScales, scales, groups, rows);
  }
  return TensorView{
      .name = module + ".weight",
      .type = TensorType::kAwq4,
      .shape = {rows, cols},
      .data = codes.data,
      .awq = {.group_cols = static_cast<int>(group), .zeros = zeros.data, .scales = scales.data}};
}

}  // namespace

bool AwqConfig::Converts(std::string_view module) const {
  return std::none_of(modules_to_not_convert.begin(), modules_to_not_convert.end(),
                      [&](const std::string& name) { return module.find(name) != module.npos; });
}

absl::StatusOr<std::optional<AwqConfig>> ReadAwqConfig(const Json& config) {
  const Json& quantization = JsonMember(config, "quantization_config");
  if (quantization.is_null()) return std::nullopt;
  if (!quantization.is_object()) return InvalidModelConfig("quantization_config", "is no object");
  KVP_RETURN_IF_ERROR(CheckVariant(quantization));
  AwqConfig awq;
  KVP_ASSIGN_OR_RETURN(const auto group, JsonInt(quantization, "group_size"));
  const int64_t size = group.value_or(kDefaultGroup);
  if (size != -1 && (size < 1 || size > 1 << 20)) {
    return InvalidModelConfig("group_size", std::to_string(size) + " is out of range");
  }
  awq.group_size = static_cast<int>(size);
  KVP_ASSIGN_OR_RETURN(awq.modules_to_not_convert, ReadModuleNames(quantization));
  return awq;
}

absl::Status CheckConverted(const AwqConfig& config, std::string_view name) {
  if (!name.ends_with(kCodes) || config.Converts(name.substr(0, name.size() - kCodes.size()))) {
    return absl::OkStatus();
  }
  return InvalidModelConfig("modules_to_not_convert",
                            "names a module whose tensor " + Printable(name) + " is quantized");
}

absl::Status CombineAwqTensors(const AwqConfig& config, TensorCatalog& tensors) {
  std::vector<std::string> modules;
  for (const auto& [name, tensor] : tensors) {
    if (name.ends_with(kCodes)) modules.push_back(name.substr(0, name.size() - kCodes.size()));
  }
  for (const std::string& module : modules) {
    KVP_ASSIGN_OR_RETURN(TensorView weight, Combine(config, module, tensors));
    const std::string name = weight.name;
    if (!tensors.emplace(name, std::move(weight)).second) {
      return CorruptFile("tensor " + Printable(name) + " occurs quantized and as it was");
    }
  }
  return absl::OkStatus();
}

}  // namespace kvpareto
