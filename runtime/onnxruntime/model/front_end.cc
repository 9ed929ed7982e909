#include "model/front_end.h"

#include <nlohmann/json.hpp>
#include <optional>

#include "speaker_engine/error.h"
#include "utils/json.h"

namespace speaker {
namespace {

using Json = nlohmann::json;

constexpr char kFix[] = "export it again: speakerlab export";

FbankConfig fbank_of(const Json& told) {
  FbankConfig config;
  config.frame.sample_freq = told.at("sample_rate").get<double>();
  config.frame.frame_length_ms = told.at("frame_length_ms").get<double>();
  config.frame.frame_shift_ms = told.at("frame_shift_ms").get<double>();
  config.frame.window_type = told.at("window").get<std::string>();
  config.frame.pre_emphasis_coefficient = told.at("preemphasis").get<double>();
  config.frame.remove_dc_offset = told.at("remove_dc").get<bool>();
  config.frame.snip_edges = told.at("snip_edges").get<bool>();
  config.frame.dither = told.at("dither").get<double>();
  config.mel.num_bins = told.at("num_mels").get<int>();
  config.mel.low_freq = told.at("low_hz").get<double>();
  config.mel.high_freq = told.at("high_hz").get<double>();
  config.scale = told.at("scale").get<double>();
  config.use_power = told.at("use_power").get<bool>();
  config.use_log_fbank = told.at("use_log").get<bool>();
  config.log_floor = told.at("log_floor").get<double>();
  return config;
}

CmvnConfig cmvn_of(const Json& told) {
  CmvnConfig config;
  config.mean = told.at("mean").get<bool>();
  config.std = told.at("std").get<bool>();
  config.window = told.at("window").get<int>();
  config.min_window = told.at("min_window").get<int>();
  config.center = told.at("center").get<bool>();
  if (config.window < 0 || config.min_window < 1) throw std::out_of_range("a window that is negative");
  return config;
}

struct Told {
  std::optional<FbankConfig> fbank;
  CmvnConfig cmvn;
  std::string front_end;
};

Told read_metadata(const OnnxFile& file, const std::string& path) {
  Told told;
  const auto front_end = file.metadata.find("frontend");
  if (front_end == file.metadata.end()) return told;  // another exporter's file
  try {
    const Json settings = parse_json<Json>(front_end->second);
    told.front_end = settings.at("name").get<std::string>();
    if (told.front_end == "fbank") told.fbank = fbank_of(settings);
    if (const auto cmvn = file.metadata.find("cmvn"); cmvn != file.metadata.end())
      told.cmvn = cmvn_of(parse_json<Json>(cmvn->second));
  } catch (const std::exception& error) {  // of the JSON reader
    throw Error(path, std::string("its metadata are not of this version (") + error.what() + ")", kFix);
  }
  return told;
}

int whole(const OnnxFile& file, const std::string& path, const char* key) {
  const auto found = file.metadata.find(key);
  const int number = found == file.metadata.end() ? 0 : std::atoi(found->second.c_str());
  if (number < 1) throw Error(path, std::string("its metadata lack ") + key, kFix);
  return number;
}

FbankConfig chosen(const Told& told, const std::string& path, const std::string& fbank_config) {
  if (fbank_config.empty() && !told.fbank) throw Error(path, "names no features", "give fbank_config.json");
  if (fbank_config.empty()) return *told.fbank;
  FbankConfig given = read_fbank_config(fbank_config);
  if (!told.fbank) return given;
  given.scale = told.fbank->scale;
  given.log_floor = told.fbank->log_floor;
  std::string all;
  for (const auto& one : differences(given, *told.fbank)) all += (all.empty() ? "" : ", ") + one;
  if (!all.empty())
    throw Error(fbank_config, "differs from what " + path + " was trained with: " + all,
                "change it, or give - to take the model's own settings");
  return given;
}

}  // namespace

FrontEnd::FrontEnd(const OnnxFile& file, const std::string& path, const std::string& fbank_config) {
  const Told told = read_metadata(file, path);
  if (file.input == "waveform") {  // the features are made inside the graph
    if (told.fbank && !fbank_config.empty()) config_ = chosen(told, path, fbank_config);
    sample_rate_ = whole(file, path, "sample_rate");
    min_samples_ = static_cast<std::size_t>(whole(file, path, "min_samples"));
    return;
  }
  if (!told.front_end.empty() && !told.fbank)
    throw Error(path, "takes " + told.front_end + " features, which are not made here",
                "export it with --input waveform");
  config_ = chosen(told, path, fbank_config);
  fbank_ = std::make_unique<Fbank>(config_);
  cmvn_ = told.cmvn;
  sample_rate_ = config_.sample_rate();
  if (file.feat_dim && file.feat_dim != config_.dim())
    throw Error(path,
                "takes " + std::to_string(file.feat_dim) + " features a frame, not " + std::to_string(config_.dim()),
                "change num_bins in fbank_config.json");
}

bool FrontEnd::may_resample(int from_rate) const {
  return from_rate > sample_rate_ ? config_.frame.allow_downsample : config_.frame.allow_upsample;
}

Matrix FrontEnd::features(const std::vector<float>& samples) const {
  Matrix features = fbank_->compute(samples.data(), samples.size());
  apply_cmvn(features, cmvn_);
  return features;
}

}  // namespace speaker
