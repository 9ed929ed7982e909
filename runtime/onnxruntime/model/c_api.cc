#include "speaker_engine/c_api.h"

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>

#include "speaker_engine/speaker_model.h"

struct speaker_model {
  speaker::Model model;
  std::string runtime;
};

namespace {

std::string& last_error() {
  thread_local std::string text;
  return text;
}

// Runs `work` and keeps what it throws: no exception crosses the interface.
template <typename Work>
int guarded(Work work) noexcept {
  try {
    last_error().clear();
    work();
    return 0;
  } catch (const std::bad_alloc&) {
    last_error() = "out of memory";
  } catch (const std::exception& error) {
    last_error() = error.what();
  } catch (...) {
    last_error() = "an unknown error";
  }
  return -1;
}

std::string text_of(const char* text, const char* otherwise = "") { return text ? text : otherwise; }

void require(const void* pointer, const char* name) {
  if (!pointer) throw speaker::Error(std::string(name) + " is NULL");
}

speaker::Options options_of(const speaker_options* given) {
  speaker::Options options;
  if (!given) return options;
  if (given->size < sizeof(speaker_options)) throw speaker::Error("options: call speaker_default_options() first");
  options.engine = text_of(given->engine, "onnxruntime");
  options.runtime = text_of(given->runtime);
  options.precision = text_of(given->precision, "fp32");
  options.fbank_config = text_of(given->fbank_config);
  options.num_threads = given->num_threads;
  options.resample = given->resample != 0;
  options.channel = given->channel;
  return options;
}

void store(const std::vector<float>& embedding, float* to, size_t capacity) {
  require(to, "embedding");
  if (capacity < embedding.size())
    throw speaker::Error("embedding has room for " + std::to_string(capacity) + " values, " +
                         std::to_string(embedding.size()) + " are needed");
  std::memcpy(to, embedding.data(), embedding.size() * sizeof(float));
}

char* copied(const std::string& text) {
  auto* copy = static_cast<char*>(std::malloc(text.size() + 1));
  if (!copy) throw std::bad_alloc();
  std::memcpy(copy, text.c_str(), text.size() + 1);
  return copy;
}

}  // namespace

extern "C" {

void speaker_default_options(speaker_options* options) {
  if (options) *options = {sizeof(speaker_options), "onnxruntime", nullptr, "fp32", nullptr, 1, 0, -1};
}

speaker_model* speaker_open(const char* onnx_path, const speaker_options* options) {
  speaker_model* opened = nullptr;
  guarded([&] {
    require(onnx_path, "onnx_path");
    speaker::Model model(onnx_path, options_of(options));
    std::string runtime = model.runtime();
    opened = new speaker_model{std::move(model), std::move(runtime)};
  });
  return opened;
}

void speaker_close(speaker_model* model) { delete model; }

size_t speaker_dim(const speaker_model* model) { return model ? model->model.dim() : 0; }
int speaker_sample_rate(const speaker_model* model) { return model ? model->model.sample_rate() : 0; }

int speaker_embed_file(const speaker_model* model, const char* path, float* embedding, size_t capacity) {
  return guarded([&] {
    require(model, "model");
    require(path, "path");
    store(model->model.embed_file(path), embedding, capacity);
  });
}

int speaker_embed_samples(const speaker_model* model, const float* samples, size_t num_samples, int sample_rate,
                          float* embedding, size_t capacity) {
  return guarded([&] {
    require(model, "model");
    require(samples, "samples");
    store(model->model.embed(samples, num_samples, sample_rate), embedding, capacity);
  });
}

int speaker_verify_files(const speaker_model* model, const char* first_path, const char* second_path,
                         const double* threshold, speaker_decision* decision, char** json) {
  return guarded([&] {
    require(model, "model");
    require(first_path, "first_path");
    require(second_path, "second_path");
    const auto given = threshold ? std::optional<double>(*threshold) : std::nullopt;
    const speaker::Decision found = model->model.verify(first_path, second_path, given);
    constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();
    const auto label = found.label == "Same"        ? SPEAKER_SAME
                       : found.label == "Different" ? SPEAKER_DIFFERENT
                                                    : SPEAKER_UNCERTAIN;
    if (decision) *decision = {label, found.score, found.threshold.value_or(kUnknown), found.llr.value_or(kUnknown)};
    if (json) *json = copied(found.json);
  });
}

void speaker_free(char* text) { std::free(text); }

double speaker_cosine(const float* first, const float* second, size_t dim) {
  double result = 0;
  guarded([&] {
    require(first, "first");
    require(second, "second");
    result = speaker::cosine({first, first + dim}, {second, second + dim});
  });
  return result;
}

const char* speaker_last_error(void) { return last_error().c_str(); }
const char* speaker_runtime(const speaker_model* model) { return model ? model->runtime.c_str() : ""; }
int speaker_abi_version(void) { return 1; }

}  // extern "C"
