#include "engine/model_files.h"

#include "engine/base/check.h"
#include "engine/model/hf_names.h"
#include "engine/model/hf_writer.h"
#include "engine/model/model_source.h"
#include "engine/ops/dequantize_rows.h"

namespace kvpareto {
namespace {

class SourceFiles final : public ModelFiles {
 public:
  SourceFiles(std::string path, std::unique_ptr<ModelSource> source)
      : path_(std::move(path)), source_(std::move(source)) {}

  const ModelConfig& config() const override { return source_->config(); }
  const std::string& fingerprint() const override { return source_->fingerprint(); }

  absl::StatusOr<Shape> ShapeOf(std::string_view tensor) const override {
    KVP_ASSIGN_OR_RETURN(const TensorView view, source_->Tensor(tensor));
    return Shape{view.rows(), view.cols()};
  }

  absl::StatusOr<std::vector<float>> ReadRows(std::string_view tensor, int64_t first_row,
                                              int64_t num_rows) const override {
    KVP_ASSIGN_OR_RETURN(const TensorView view, source_->Tensor(tensor));
    KVP_CHECK(first_row >= 0 && num_rows >= 0 && first_row + num_rows <= view.rows())
        << view.name << ": rows " << first_row << " + " << num_rows;
    return DequantizeRows(view, first_row, num_rows);
  }

  absl::Status WriteHfFiles(const Json& quantization, const std::string& directory) const override {
    return kvpareto::WriteHfFiles(*source_, path_, quantization, directory);
  }

 private:
  const std::string path_;
  const std::unique_ptr<ModelSource> source_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ModelFiles>> ModelFiles::Open(const std::string& path) {
  KVP_ASSIGN_OR_RETURN(std::unique_ptr<ModelSource> source, OpenModel(path));
  return std::make_unique<SourceFiles>(path, std::move(source));
}

absl::StatusOr<std::vector<float>> ModelFiles::Read(std::string_view tensor) const {
  KVP_ASSIGN_OR_RETURN(const Shape shape, ShapeOf(tensor));
  return ReadRows(tensor, 0, shape.rows);
}

std::string ModelFiles::HfTensorName(std::string_view tensor) { return HfName(tensor); }

}  // namespace kvpareto
