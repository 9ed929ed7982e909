// Where results of a list go: a text file for each utterance, or a Kaldi archive for all. Each is there whole or not.
//   auto store = make_store(StoreKind::kText, ".embedding", "out", false); store->put("utt1", matrix);
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "feature/matrix.h"

namespace speaker {

class ResultStore {
 public:
  virtual ~ResultStore() = default;
  // What the scp says of `id`: a path, or path:offset.
  virtual std::string put(const std::string& id, const Matrix& values) = 0;
  // Bytes of the archive so far; what a killed run left behind them is cut off by `resume_at`.
  virtual std::uint64_t size() const { return 0; }
  virtual void resume_at(std::uint64_t) {}
  virtual void publish() {}
};

enum class ResultKind { kEmbedding, kFeature };

// Text: one line of numbers with nine digits, which give the same float32, for an embedding; a line of fixed six
// decimals for each frame. `is_ark`: <folder>/embedding.ark or <folder>/feature.ark instead.
std::unique_ptr<ResultStore> make_store(ResultKind kind, const std::string& folder, bool is_ark);

}  // namespace speaker
