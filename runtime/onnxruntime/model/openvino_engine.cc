// OpenVINO as an Engine, in the builds that found it. A compiled model is shared; each call borrows a request.
#ifdef SPEAKER_ENGINE_OPENVINO

#include <mutex>
#include <openvino/openvino.hpp>
#include <random>

#include "model/engine.h"

namespace speaker {
namespace {

constexpr char kDevice[] = "CPU";
constexpr std::size_t kCheckedFrames = 200;
constexpr double kLeastCosine = 0.99;

ov::AnyMap settings_of(const Options& options) {
  return {ov::hint::inference_precision(options.precision == "bf16" ? ov::element::bf16 : ov::element::f32),
          ov::inference_num_threads(options.num_threads), ov::num_streams(1),
          ov::hint::performance_mode(ov::hint::PerformanceMode::LATENCY)};
}

bool has_bf16(ov::Core& core) {
  for (const auto& capability : core.get_property(kDevice, ov::device::capabilities))
    if (capability == ov::device::capability::BF16) return true;
  return false;
}

std::string one_line(std::string text) {
  const auto last = text.find_last_not_of(" \n");
  text = text.substr(0, last == std::string::npos ? 0 : last + 1);
  const auto line = text.rfind('\n');
  return line == std::string::npos ? text : text.substr(line + 1);
}

class OpenVinoEngine : public Engine {
 public:
  OpenVinoEngine(const OnnxFile& file, const std::string& path, const Options& options) : output_(file.output) {
    if (options.precision == "bf16" && !has_bf16(core_))
      throw Error("--precision bf16", "this processor has no bf16", "use --precision fp32");
    const auto model = core_.read_model(path);
    settings_ = settings_of(options);
    compiled_ = core_.compile_model(model, kDevice, settings_);
    const auto precision = file.metadata.find("precision");
    if (precision != file.metadata.end() && precision->second.rfind("int8", 0) == 0 && file.input == "feature")
      compare_lengths(model, path);
  }

  std::vector<float> run(const float* input, const std::vector<std::int64_t>& shape) const override {
    try {
      return run_borrowed(input, shape);
    } catch (const ov::Exception& error) {
      throw Error("OpenVINO: " + one_line(error.what()));
    }
  }

  std::string name() const override { return std::string("OpenVINO ") + ov::get_openvino_version().buildNumber; }

 private:
  std::vector<float> run_borrowed(const float* input, const std::vector<std::int64_t>& shape) const {
    Borrowed request(*this);
    const ov::Shape axes(shape.begin(), shape.end());
    // The runtime only reads it.
    request.get().set_input_tensor(ov::Tensor(ov::element::f32, axes, const_cast<float*>(input)));
    request.get().infer();
    const ov::Tensor found = request.get().get_tensor(output_);
    const auto* values = found.data<const float>();
    return std::vector<float>(values, values + found.get_size());
  }

  // A request that no other thread uses; given back at the end.
  class Borrowed {
   public:
    explicit Borrowed(const OpenVinoEngine& engine) : engine_(engine) {
      const std::lock_guard<std::mutex> lock(engine_.mutex_);
      if (engine_.idle_.empty()) {
        request_ = engine_.compiled_.create_infer_request();
      } else {
        request_ = engine_.idle_.back();
        engine_.idle_.pop_back();
      }
    }
    ~Borrowed() {
      const std::lock_guard<std::mutex> lock(engine_.mutex_);
      engine_.idle_.push_back(request_);
    }
    Borrowed(const Borrowed&) = delete;
    Borrowed& operator=(const Borrowed&) = delete;
    ov::InferRequest& get() { return request_; }

   private:
    const OpenVinoEngine& engine_;
    ov::InferRequest request_;
  };

  // OpenVINO 2026.4.1 gives some int8 graphs wrong biases where the length is dynamic: the same input at a fixed length
  // must give the same embedding.
  void compare_lengths(const std::shared_ptr<ov::Model>& model, const std::string& path) {
    const ov::PartialShape shape = model->input().get_partial_shape();
    const auto width = static_cast<std::size_t>(shape[2].get_length());
    std::mt19937 generator(0);
    std::normal_distribution<float> normal;
    std::vector<float> input(kCheckedFrames * width);
    for (float& value : input) value = normal(generator);
    const auto dynamic =
        run(input.data(), {1, static_cast<std::int64_t>(kCheckedFrames), static_cast<std::int64_t>(width)});
    const auto fixed_model = model->clone();
    fixed_model->reshape(ov::Shape{1, kCheckedFrames, width});
    auto request = core_.compile_model(fixed_model, kDevice, settings_).create_infer_request();
    request.set_input_tensor(ov::Tensor(ov::element::f32, {1, kCheckedFrames, width}, input.data()));
    request.infer();
    const auto found = request.get_tensor(output_);
    const std::vector<float> fixed(found.data<const float>(), found.data<const float>() + found.get_size());
    if (const double same = cosine(dynamic, fixed); same < kLeastCosine)
      throw Error(path,
                  "OpenVINO computes it wrongly: dynamic and fixed length agree to " + std::to_string(same) + " only",
                  "use --engine onnxruntime");
  }

  ov::Core core_;
  ov::AnyMap settings_;
  mutable ov::CompiledModel compiled_;
  std::string output_;
  mutable std::mutex mutex_;
  mutable std::vector<ov::InferRequest> idle_;
};

}  // namespace

bool has_openvino() { return true; }

std::unique_ptr<Engine> open_openvino(const OnnxFile& file, const std::string& path, const Options& options) {
  try {
    return std::make_unique<OpenVinoEngine>(file, path, options);
  } catch (const ov::Exception& error) {
    throw Error(path, "cannot be run: OpenVINO: " + one_line(error.what()), "export the model again");
  }
}

}  // namespace speaker

#endif
