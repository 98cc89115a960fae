#include "autotuner/checkpoint_writer.h"

#include <cstdio>
#include <nlohmann/json.hpp>

#include "engine/base/check.h"

namespace kvpareto::tune {
namespace {

using Json = nlohmann::ordered_json;

absl::Status NotWritable(const std::string& path) {
  return MakeError(absl::StatusCode::kInternal, "FILE_NOT_WRITABLE", "cannot write " + path,
                   {{"path", path}});
}

std::string ShardName(size_t index, size_t count) {
  char name[64];
  std::snprintf(name, sizeof(name), "model-%05zu-of-%05zu.safetensors", index + 1, count);
  return name;
}

}  // namespace

CheckpointWriter::CheckpointWriter(std::string directory, std::vector<TensorPlan> tensors,
                                   uint64_t max_file_bytes)
    : directory_(std::move(directory)), tensors_(std::move(tensors)) {
  for (size_t i = 0; i < tensors_.size(); ++i) {
    if (files_.empty() || files_.back().bytes + tensors_[i].bytes > max_file_bytes) {
      files_.push_back({.name = "", .first = i, .last = i, .bytes = 0});
    }
    files_.back().last = i + 1;
    files_.back().bytes += tensors_[i].bytes;
    total_bytes_ += tensors_[i].bytes;
  }
  for (size_t i = 0; i < files_.size(); ++i) {
    files_[i].name = files_.size() == 1 ? "model.safetensors" : ShardName(i, files_.size());
  }
}

absl::Status CheckpointWriter::OpenNext() {
  const File& file = files_[next_file_++];
  Json header = {{"__metadata__", {{"format", "pt"}}}};
  uint64_t end = 0;
  for (size_t i = file.first; i < file.last; ++i) {
    const uint64_t begin = end;
    end += tensors_[i].bytes;
    header[tensors_[i].name] = {
        {"dtype", tensors_[i].dtype}, {"shape", tensors_[i].shape}, {"data_offsets", {begin, end}}};
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');  // the format aligns the data by spaces
  const uint64_t header_bytes = text.size();
  out_ = std::ofstream(PathOf(file.name), std::ios::binary | std::ios::trunc);
  out_.write(reinterpret_cast<const char*>(&header_bytes), sizeof(header_bytes));
  out_.write(text.data(), static_cast<std::streamsize>(text.size()));
  left_ = file.bytes;
  return out_.fail() ? NotWritable(PathOf(file.name)) : absl::OkStatus();
}

absl::Status CheckpointWriter::Write(std::span<const std::byte> data) {
  if (left_ == 0) {
    KVP_CHECK(next_file_ < files_.size());
    KVP_RETURN_IF_ERROR(OpenNext());
  }
  KVP_CHECK(data.size() <= left_) << data.size() << " bytes, " << left_ << " left";
  out_.write(reinterpret_cast<const char*>(data.data()), static_cast<std::streamsize>(data.size()));
  left_ -= data.size();
  if (left_ == 0) out_.close();
  return out_.fail() ? NotWritable(PathOf(files_[next_file_ - 1].name)) : absl::OkStatus();
}

absl::Status CheckpointWriter::Finish() {
  KVP_CHECK(left_ == 0 && next_file_ == files_.size());
  return files_.size() == 1 ? absl::OkStatus() : WriteIndex();
}

absl::Status CheckpointWriter::WriteIndex() const {
  Json weight_map;
  for (const File& file : files_) {
    for (size_t i = file.first; i < file.last; ++i) weight_map[tensors_[i].name] = file.name;
  }
  const Json index = {{"metadata", {{"total_size", total_bytes_}}}, {"weight_map", weight_map}};
  const std::string path = PathOf("model.safetensors.index.json");
  std::ofstream out(path, std::ios::trunc);
  out << index.dump(1) << "\n";
  out.close();
  return out.fail() ? NotWritable(path) : absl::OkStatus();
}

}  // namespace kvpareto::tune
