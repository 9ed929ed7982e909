// The C++ interface: a speaker embedding model in one ONNX file. One model may serve many threads at once.
//   speaker::Model model("model.onnx"); std::vector<float> e = model.embed_file("a.wav");
// Every function throws speaker::Error, and nothing else that is not std::bad_alloc.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "speaker_engine/error.h"

namespace speaker {

struct Options {
  std::string engine = "onnxruntime";  // or "openvino"
  std::string runtime;                 // ONNX Runtime's library, or a folder with it; empty: looked for (README.md)
  std::string precision = "fp32";      // "bf16" with openvino
  int num_threads = 1;                 // of one network call; 0: all cores
  std::string fbank_config;            // fbank_config.json; empty: the settings in the model's metadata
  bool resample = false;               // audio of another rate is resampled, else refused
  int channel = -1;                    // to listen to, from 0; -1: the file must have one
};

// The answer to "is it one speaker?", as `speakerlab verify` gives it.
struct Decision {
  std::string label;  // "Same", "Different" or "Uncertain"
  double score = 0;
  std::optional<double> threshold;
  std::optional<double> llr;         // natural log of the likelihood ratio
  std::vector<std::string> reasons;  // why there is no decision
  std::vector<std::string> notes;
  std::string json;  // all of it, the object of `speakerlab verify --json`
  std::string text;  // the lines of `speakerlab verify`
};

class Model {
 public:
  explicit Model(const std::string& onnx_path, const Options& options = {});
  ~Model();
  Model(Model&&) noexcept;
  Model& operator=(Model&&) noexcept;

  // Of one recording: a WAV file, or what libsndfile reads. More than 40 s are embedded in windows.
  std::vector<float> embed_file(const std::string& path) const;
  // Of samples in [-1, 1]; `name` is what errors call them.
  std::vector<float> embed(const float* samples, std::size_t num_samples, int sample_rate,
                           const std::string& name = "samples") const;
  // Two recordings, resampled where need be; `threshold` in place of the model's own. Where Options name no channel,
  // channel 0 is listened to.
  Decision verify(const std::string& first_path, const std::string& second_path,
                  std::optional<double> threshold = std::nullopt) const;

  int sample_rate() const;                 // that the model listens at, in Hz
  std::size_t dim() const;                 // size of its embeddings
  std::string runtime() const;             // such as "ONNX Runtime 1.31.1"
  std::vector<std::string> notes() const;  // what its user should know about file and runtime

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Within [-1, 1]; 0 where one is zero. Throws where the sizes differ.
double cosine(const std::vector<float>& first, const std::vector<float>& second);

}  // namespace speaker
