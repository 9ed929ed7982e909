#include "model/engine.h"

#include "speaker_engine/error.h"

namespace speaker {

std::unique_ptr<Engine> open_engine(const OnnxFile& file, const std::string& path, const Options& options) {
  if (options.num_threads < 0 || options.num_threads > 4096)
    throw Error("--threads", std::to_string(options.num_threads) + " is not 0 to 4096");
  if (options.precision != "fp32" && options.precision != "bf16")
    throw Error("--precision", "'" + options.precision + "' is not fp32 or bf16");
  if (options.engine == "onnxruntime") {
    if (options.precision != "fp32")
      throw Error("--precision", "ONNX Runtime has no " + options.precision, "use --engine openvino");
    return open_onnxruntime(file, path, options);
  }
  if (options.engine == "openvino") return open_openvino(file, path, options);
  throw Error("--engine", "'" + options.engine + "' is not onnxruntime or openvino");
}

#ifndef SPEAKER_ENGINE_OPENVINO
bool has_openvino() { return false; }
std::unique_ptr<Engine> open_openvino(const OnnxFile&, const std::string&, const Options&) {
  throw Error("--engine openvino", "this build has no OpenVINO",
              "pip install openvino, and build again with -DOpenVINO_DIR (README.md)");
}
#endif

}  // namespace speaker
