// ONNX Runtime as an Engine. A session may be run by many threads; each call has tensors of its own.
#include <memory>

#include "model/engine.h"
#include "model/ort_api.h"

namespace speaker {
namespace {

constexpr int kCpuAllocator = 1;  // OrtArenaAllocator
constexpr int kCpuMemory = 0;     // OrtMemTypeDefault
constexpr int kFloat = 1;         // ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT
constexpr int kLogErrors = 3;

// An object of the runtime, released by the function at `place` of the table.
template <typename Object>
class Held {
 public:
  Held(const OrtTable& ort, OrtPlace place) : ort_(&ort), place_(place) {}
  ~Held() { ort_->release(place_, object_); }
  Held(const Held&) = delete;
  Held& operator=(const Held&) = delete;
  Object* get() const { return object_; }
  Object** out() { return &object_; }

 private:
  const OrtTable* ort_;
  OrtPlace place_;
  Object* object_ = nullptr;
};

class OrtEngine : public Engine {
 public:
  OrtEngine(const OnnxFile& file, const Options& options)
      : ort_(find_ort(options.runtime)),
        input_(file.input),
        output_(file.output),
        env_(ort_, kReleaseEnv),
        memory_(ort_, kReleaseMemoryInfo),
        session_(ort_, kReleaseSession) {
    ort_.call(kCreateEnv, kLogErrors, "speaker_engine", env_.out());
    ort_.call(kCreateCpuMemoryInfo, kCpuAllocator, kCpuMemory, memory_.out());
    Held<OrtOptionsTag> settings(ort_, kReleaseSessionOptions);
    ort_.call(kCreateSessionOptions, settings.out());
    ort_.call(kSetSessionLogSeverityLevel, settings.get(), kLogErrors);
    ort_.call(kSetIntraOpNumThreads, settings.get(), options.num_threads);
    ort_.call(kSetInterOpNumThreads, settings.get(), 1);
    // Plans and arenas are kept for each length that occurs: memory would grow with the list.
    ort_.call(kDisableMemPattern, settings.get());
    ort_.call(kDisableCpuMemArena, settings.get());
    ort_.call(kCreateSessionFromArray, static_cast<const OrtEnvTag*>(env_.get()),
              static_cast<const void*>(file.bytes.data()), file.bytes.size(),
              static_cast<const OrtOptionsTag*>(settings.get()), session_.out());
  }

  std::vector<float> run(const float* input, const std::vector<std::int64_t>& shape) const override {
    std::size_t count = 1;
    for (const std::int64_t axis : shape) count *= static_cast<std::size_t>(axis);
    Held<OrtValueTag> in(ort_, kReleaseValue);
    Held<OrtValueTag> out(ort_, kReleaseValue);
    ort_.call(kCreateTensorWithData, static_cast<const OrtMemoryTag*>(memory_.get()),
              const_cast<void*>(static_cast<const void*>(input)), count * sizeof(float), shape.data(), shape.size(),
              kFloat, in.out());
    const char* in_name = input_.c_str();
    const char* out_name = output_.c_str();
    const OrtValueTag* value = in.get();
    ort_.call(kRun, session_.get(), static_cast<const void*>(nullptr), static_cast<const char* const*>(&in_name),
              static_cast<const OrtValueTag* const*>(&value), std::size_t{1},
              static_cast<const char* const*>(&out_name), std::size_t{1}, out.out());
    Held<OrtShapeTag> told(ort_, kReleaseTypeAndShape);
    ort_.call(kGetTensorTypeAndShape, static_cast<const OrtValueTag*>(out.get()), told.out());
    std::size_t size = 0;
    ort_.call(kGetTensorShapeElementCount, static_cast<const OrtShapeTag*>(told.get()), &size);
    void* data = nullptr;
    ort_.call(kGetTensorMutableData, out.get(), &data);
    const auto* values = static_cast<const float*>(data);
    return std::vector<float>(values, values + size);
  }

  std::string name() const override { return "ONNX Runtime " + ort_.version; }

 private:
  OrtTable ort_;
  std::string input_, output_;
  Held<OrtEnvTag> env_;
  Held<OrtMemoryTag> memory_;
  Held<OrtSessionTag> session_;
};

}  // namespace

std::unique_ptr<Engine> open_onnxruntime(const OnnxFile& file, const std::string& path, const Options& options) {
  try {
    return std::make_unique<OrtEngine>(file, options);
  } catch (const Error& error) {
    const std::string why = error.what();
    if (why.rfind("ONNX Runtime", 0) != 0) throw;
    throw Error(path, "cannot be run: " + why, "upgrade onnxruntime, or export the model again");
  }
}

}  // namespace speaker
