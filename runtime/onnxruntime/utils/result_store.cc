#include "utils/result_store.h"

#include "utils/output_file.h"
#include "utils/text.h"

namespace speaker {
namespace {

std::string text_of(ResultKind kind, const Matrix& values) {
  std::string text;
  for (std::size_t t = 0; t < values.rows; ++t) {
    for (std::size_t n = 0; n < values.columns; ++n) {
      const auto value = static_cast<double>(values.row(t)[n]);
      if (kind == ResultKind::kFeature) {
        text += formatted("%.6f ", value);
      } else {
        text += formatted(n ? " %.9g" : "%.9g", value);
      }
    }
    text += "\n";
  }
  return text;
}

void append_size(std::string& to, std::size_t size) {
  to.push_back('\4');
  for (int shift = 0; shift < 32; shift += 8) to.push_back(static_cast<char>(size >> shift & 0xFF));
}

class TextStore : public ResultStore {
 public:
  TextStore(ResultKind kind, std::string folder) : kind_(kind), folder_(std::move(folder)) {}
  std::string put(const std::string& id, const Matrix& values) override {
    const std::string path =
        folder_ + "/" + file_name_of(id) + (kind_ == ResultKind::kEmbedding ? ".embedding" : ".feature");
    OutputFile file(path);
    file.write(text_of(kind_, values));
    file.publish();
    return path;
  }

 private:
  ResultKind kind_;
  std::string folder_;
};

// Kaldi's binary format: "id ", then a vector "FV " or a matrix "FM " of little-endian float32.
class ArkStore : public ResultStore {
 public:
  ArkStore(ResultKind kind, const std::string& folder)
      : kind_(kind),
        path_(folder + (kind == ResultKind::kEmbedding ? "/embedding.ark" : "/feature.ark")),
        file_(path_, true) {}
  std::string put(const std::string& id, const Matrix& values) override {
    const std::uint64_t offset = file_.size() + id.size() + 1;
    std::string head = id + " ";
    head.append("\0B", 2);
    head += kind_ == ResultKind::kEmbedding ? "FV " : "FM ";
    if (kind_ == ResultKind::kFeature) append_size(head, values.rows);
    append_size(head, values.columns);
    head.append(reinterpret_cast<const char*>(values.values.data()), values.values.size() * sizeof(float));
    file_.write(head);
    return path_ + ":" + std::to_string(offset);
  }
  std::uint64_t size() const override { return file_.size(); }
  void resume_at(std::uint64_t size) override { file_.cut(size); }
  void publish() override { file_.publish(); }

 private:
  ResultKind kind_;
  std::string path_;
  OutputFile file_;
};

}  // namespace

std::unique_ptr<ResultStore> make_store(ResultKind kind, const std::string& folder, bool is_ark) {
  make_folder(folder);
  if (is_ark) return std::make_unique<ArkStore>(kind, folder);
  return std::make_unique<TextStore>(kind, folder);
}

}  // namespace speaker
