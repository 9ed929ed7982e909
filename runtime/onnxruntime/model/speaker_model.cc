#include "speaker_engine/speaker_model.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "model/decision.h"
#include "model/engine.h"
#include "model/front_end.h"
#include "utils/audio.h"

namespace speaker {
namespace {

constexpr double kWindowSeconds = 40;  // as in speakerlab.embed.windows

}  // namespace

struct Model::State {
  State(const std::string& onnx_path, const Options& chosen) : State(read_onnx_file(onnx_path), onnx_path, chosen) {}
  State(OnnxFile file, const std::string& onnx_path, const Options& chosen)
      : path(onnx_path),
        options(chosen),
        metadata(file.metadata),
        front_end(file, onnx_path, chosen.fbank_config),
        rule(read_rule(file.metadata, onnx_path)),
        engine(open_engine(file, onnx_path, chosen)) {
    dim = file.embed_dim
              ? static_cast<std::size_t>(file.embed_dim)
              : run(std::vector<float>(static_cast<std::size_t>(front_end.sample_rate()), 0.0F), "a test").size();
  }

  std::optional<std::string> told(const char* key) const {
    const auto found = metadata.find(key);
    return found == metadata.end() ? std::nullopt : std::optional<std::string>(found->second);
  }
  Identity identity() const {
    return {told("name").value_or(path), told("content_hash"), told("domain"), front_end.sample_rate()};
  }

  // The embedding of samples at the model's rate.
  std::vector<float> run(const std::vector<float>& samples, const std::string& name) const {
    std::vector<float> embedding;
    if (front_end.takes_waveform()) {
      if (samples.size() < front_end.min_samples())
        throw Error(name, std::to_string(samples.size()) + " samples, the model needs " +
                              std::to_string(front_end.min_samples()));
      embedding = engine->run(samples.data(), {1, static_cast<std::int64_t>(samples.size())});
    } else {
      const Matrix features = front_end.features(samples);
      if (features.rows == 0) throw Error(name, "is shorter than one frame");
      embedding = engine->run(features.values.data(), {1, static_cast<std::int64_t>(features.rows),
                                                       static_cast<std::int64_t>(features.columns)});
    }
    const bool is_finite = std::all_of(embedding.begin(), embedding.end(), [](float x) { return std::isfinite(x); });
    if (!is_finite) throw Error(name, "its embedding has NaN or Inf values");
    return embedding;
  }

  // Of recordings that are longer than a window the mean of the windows' directions, by their seconds of speech, as
  // speakerlab.embed.windows has it: what the network needs does not grow with the recording.
  std::vector<float> run_windows(const std::vector<float>& samples, const std::string& name) const {
    const double seconds = static_cast<double>(samples.size()) / front_end.sample_rate();
    const double count = std::ceil(seconds / kWindowSeconds);
    if (count <= 1) return run(samples, name);
    const auto edge = [&](double n) {
      return n < count ? static_cast<std::ptrdiff_t>(seconds * n / count * front_end.sample_rate())
                       : static_cast<std::ptrdiff_t>(samples.size());
    };
    std::vector<double> by_speech(dim), by_seconds(dim);
    double speech = 0, length = 0;
    for (double n = 0; n < count; ++n) {
      const std::vector<float> window(samples.begin() + edge(n), samples.begin() + edge(n + 1));
      const std::vector<float> embedding = run(window, name);
      const SpeechCheck found = check_speech(window, front_end.sample_rate());
      const double norm = std::sqrt(std::inner_product(embedding.begin(), embedding.end(), embedding.begin(), 0.0));
      for (std::size_t k = 0; k < dim; ++k) {
        const double direction = static_cast<double>(embedding[k]) / std::max(norm, 1e-12);
        by_speech[k] += found.speech_s * direction;
        by_seconds[k] += found.duration_s * direction;
      }
      speech += found.speech_s;
      length += found.duration_s;
    }
    std::vector<float> mean(dim);
    for (std::size_t k = 0; k < dim; ++k)
      mean[k] = static_cast<float>(speech > 0 ? by_speech[k] / speech : by_seconds[k] / length);
    return mean;
  }

  std::vector<float> embed(Audio audio, const std::string& name, bool may_resample) const {
    const int rate = front_end.sample_rate();
    if (audio.sample_rate != rate && !may_resample && !front_end.may_resample(audio.sample_rate))
      throw Error(name, "is " + std::to_string(audio.sample_rate) + " Hz, the model needs " + std::to_string(rate),
                  "resample it, or give --resample");
    return run_windows(resampled(std::move(audio), rate).samples, name);
  }

  Heard hear(const std::string& recording) const {
    Audio audio = read_audio(recording, std::max(options.channel, 0));
    Heard heard{recording,         {}, check_speech(audio.samples, audio.sample_rate), audio.sample_rate, audio.channel,
                audio.num_channels};
    heard.embedding = embed(std::move(audio), recording, true);
    return heard;
  }

  std::string path;
  Options options;
  std::map<std::string, std::string> metadata;
  FrontEnd front_end;
  Rule rule;
  std::unique_ptr<Engine> engine;
  std::size_t dim = 0;
};

Model::Model(const std::string& onnx_path, const Options& options)
    : state_(std::make_unique<State>(onnx_path, options)) {}
Model::~Model() = default;
Model::Model(Model&&) noexcept = default;
Model& Model::operator=(Model&&) noexcept = default;

std::vector<float> Model::embed_file(const std::string& path) const {
  Audio audio = read_audio(path, state_->options.channel);
  refuse_silence(audio, path);
  return state_->embed(std::move(audio), path, state_->options.resample);
}

std::vector<float> Model::embed(const float* samples, std::size_t num_samples, int sample_rate,
                                const std::string& name) const {
  Audio audio;
  audio.samples.assign(samples, samples + num_samples);
  audio.sample_rate = sample_rate;
  check_samples(audio.samples, sample_rate, name);
  return state_->embed(std::move(audio), name, state_->options.resample);
}

Decision Model::verify(const std::string& first_path, const std::string& second_path,
                       std::optional<double> threshold) const {
  Rule rule = state_->rule;
  if (threshold) rule.give(*threshold);
  const Heard first = state_->hear(first_path);
  const Heard second = state_->hear(second_path);
  return decide(first, second, rule, state_->identity());
}

int Model::sample_rate() const { return state_->front_end.sample_rate(); }
std::size_t Model::dim() const { return state_->dim; }
std::string Model::runtime() const { return state_->engine->name(); }

std::vector<std::string> Model::notes() const {
  std::vector<std::string> found;
  const std::string precision = state_->told("precision").value_or("");
  const bool is_old = runtime().rfind("ONNX Runtime 1.19.", 0) == 0;
  if (precision.rfind("int8", 0) == 0 && is_old)
    found.push_back(runtime() + " runs int8 slower than fp32; upgrade onnxruntime");
  return found;
}

double cosine(const std::vector<float>& first, const std::vector<float>& second) {
  if (first.size() != second.size()) throw Error("embeddings of different sizes cannot be compared");
  double product = 0, a = 0, b = 0;
  for (std::size_t n = 0; n < first.size(); ++n) {
    product += static_cast<double>(first[n]) * static_cast<double>(second[n]);
    a += static_cast<double>(first[n]) * static_cast<double>(first[n]);
    b += static_cast<double>(second[n]) * static_cast<double>(second[n]);
  }
  const double norm = std::sqrt(a) * std::sqrt(b);
  return norm > 0 ? std::clamp(product / norm, -1.0, 1.0) : 0.0;
}

}  // namespace speaker
