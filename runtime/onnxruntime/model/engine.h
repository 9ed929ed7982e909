// What runs a network: one input in, one embedding out, from any number of threads at once.
//   auto engine = open_engine(file, "model.onnx", options); engine->run(features.data(), {1, 298, 80});
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "model/onnx_file.h"
#include "speaker_engine/speaker_model.h"

namespace speaker {

class Engine {
 public:
  virtual ~Engine() = default;
  // The embedding of `input`, whose axes are `shape`; the first is 1.
  virtual std::vector<float> run(const float* input, const std::vector<std::int64_t>& shape) const = 0;
  // Its name and version, such as "ONNX Runtime 1.31.1".
  virtual std::string name() const = 0;
};

// Throws Error where the runtime is missing, or cannot run the file.
std::unique_ptr<Engine> open_engine(const OnnxFile& file, const std::string& path, const Options& options);
std::unique_ptr<Engine> open_onnxruntime(const OnnxFile& file, const std::string& path, const Options& options);
std::unique_ptr<Engine> open_openvino(const OnnxFile& file, const std::string& path, const Options& options);
bool has_openvino();

}  // namespace speaker
