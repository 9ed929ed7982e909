#include "feature/fbank_config.h"

#include <cmath>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "speaker_engine/error.h"
#include "utils/byte_source.h"
#include "utils/json.h"
#include "utils/text.h"

namespace speaker {
namespace {

using Json = nlohmann::json;
using Setter = std::function<bool(const Json&)>;  // false: the value is of another type
using Fields = std::map<std::string, Setter>;

constexpr std::uint64_t kMostBytes = 1 << 20;
constexpr double kMostRate = 768000;
const std::set<std::string> kWindows = {"povey", "hanning", "hamming", "sine", "rectangular", "blackman"};

Setter into(double& target) {
  return [&target](const Json& value) {
    if (!value.is_number()) return false;
    target = value.get<double>();
    return std::isfinite(target);
  };
}

Setter into(bool& target) {
  return [&target](const Json& value) {
    if (!value.is_boolean()) return false;
    target = value.get<bool>();
    return true;
  };
}

Setter into(int& target) {
  return [&target](const Json& value) {
    if (!value.is_number()) return false;
    const auto found = value.get<double>();
    if (!(std::abs(found) < 1e9) || found != std::floor(found)) return false;
    target = static_cast<int>(found);
    return true;
  };
}

Setter into(std::string& target) {
  return [&target](const Json& value) {
    if (!value.is_string()) return false;
    target = value.get<std::string>();
    return true;
  };
}

// A value in a message, short.
std::string shown(const Json& value) {
  if (value.is_structured()) return value.is_array() ? "a list" : "an object";
  return value.dump(-1, ' ', true, Json::error_handler_t::replace).substr(0, 60);
}

void read_fields(const Json& object, const Fields& fields, const std::string& where) {
  if (!object.is_object()) throw Error(where, "is no JSON object", "see assets/fbank_config.json");
  for (const auto& [key, value] : object.items()) {
    const auto field = fields.find(key);
    if (field == fields.end()) throw Error(where, "unknown field '" + key + "'", "README.md lists the fields");
    if (!field->second(value)) throw Error(where, "'" + key + "' is " + shown(value), "README.md names its type");
  }
}

Fields frame_fields(FrameExtractionOptions& frame) {
  return {{"sample_freq", into(frame.sample_freq)},
          {"frame_shift_ms", into(frame.frame_shift_ms)},
          {"frame_length_ms", into(frame.frame_length_ms)},
          {"dither", into(frame.dither)},
          {"pre_emphasis_coefficient", into(frame.pre_emphasis_coefficient)},
          {"remove_dc_offset", into(frame.remove_dc_offset)},
          {"window_type", into(frame.window_type)},
          {"round_to_power_of_two", into(frame.round_to_power_of_two)},
          {"blackman_coefficient", into(frame.blackman_coefficient)},
          {"snip_edges", into(frame.snip_edges)},
          {"allow_downsample", into(frame.allow_downsample)},
          {"allow_upsample", into(frame.allow_upsample)},
          {"max_feature_vectors", into(frame.max_feature_vectors)}};
}

Fields mel_fields(MelBanksOptions& mel) {
  return {{"num_bins", into(mel.num_bins)},
          {"low_freq", into(mel.low_freq)},
          {"high_freq", into(mel.high_freq)},
          {"vtln_low", into(mel.vtln_low)},
          {"vtln_high", into(mel.vtln_high)}};
}

Json parsed(const std::string& text, const std::string& name) {
  try {
    return parse_json<Json>(text);
  } catch (const std::out_of_range& error) {
    throw Error(name, std::string("is ") + error.what(), "see assets/fbank_config.json");
  } catch (const Json::exception&) {
    throw Error(name, "is no JSON", "see assets/fbank_config.json");
  }
}

int samples_of(double milliseconds, double rate) { return static_cast<int>(rate * milliseconds * 0.001); }

}  // namespace

int FbankConfig::frame_length() const { return samples_of(frame.frame_length_ms, frame.sample_freq); }
int FbankConfig::frame_shift() const { return samples_of(frame.frame_shift_ms, frame.sample_freq); }

int FbankConfig::fft_size() const {
  if (!frame.round_to_power_of_two) return frame_length();
  int size = 4;
  while (size < frame_length()) size *= 2;
  return size;
}

void FbankConfig::check(const std::string& name) const {
  const auto require = [&name](bool holds, const char* what) {
    if (!holds) throw Error(name, what);
  };
  require(
      frame.sample_freq >= 1000 && frame.sample_freq <= kMostRate && frame.sample_freq == std::floor(frame.sample_freq),
      "sample_freq must be a whole number from 1000 to 768000");
  require(frame.frame_length_ms >= 1 && frame.frame_length_ms <= 10000, "frame_length_ms must be 1 to 10000");
  require(frame.frame_shift_ms >= 1 && frame.frame_shift_ms <= 10000, "frame_shift_ms must be 1 to 10000");
  require(frame.dither >= 0 && frame.dither <= 1e6, "dither must be 0 to 1e6");
  require(frame.pre_emphasis_coefficient >= 0 && frame.pre_emphasis_coefficient <= 1,
          "pre_emphasis_coefficient must be 0 to 1");
  require(kWindows.count(frame.window_type) == 1,
          "window_type must be povey, hanning, hamming, sine, rectangular or blackman");
  require(frame.round_to_power_of_two || frame_length() % 2 == 0,
          "without round_to_power_of_two a frame must have an even number of samples");
  require(mel.num_bins >= 4 && mel.num_bins <= 4096, "num_bins must be 4 to 4096");
  const double nyquist = frame.sample_freq / 2;
  const double high = mel.high_freq > 0 ? mel.high_freq : nyquist + mel.high_freq;
  require(mel.low_freq >= 0 && mel.low_freq < high && high <= nyquist,
          "low_freq and high_freq must rise within 0 and half of sample_freq");
  require(energy_floor >= 0, "energy_floor must not be negative");
  require(vtln_warp > 0 && vtln_warp <= 10, "vtln_warp must be above 0 and at most 10");
  const double vtln_high = mel.vtln_high < 0 ? nyquist + mel.vtln_high : mel.vtln_high;
  require(vtln_warp == 1 || (mel.vtln_low > mel.low_freq && mel.vtln_low < vtln_high && vtln_high < high),
          "vtln_low and vtln_high must rise within low_freq and high_freq");
  require(scale > 0 && log_floor > 0, "scale and log_floor must be positive");
}

FbankConfig parse_fbank_config(const std::string& text, const std::string& name) {
  const Json found = parsed(text, name);
  FbankConfig config;
  const Setter frame = [&](const Json& value) {
    return read_fields(value, frame_fields(config.frame), name + ": FrameExtractionOptions"), true;
  };
  const Setter mel = [&](const Json& value) {
    return read_fields(value, mel_fields(config.mel), name + ": MelBanksOptions"), true;
  };
  read_fields(found,
              {{"FrameExtractionOptions", frame},
               {"MelBanksOptions", mel},
               {"use_energy", into(config.use_energy)},
               {"energy_floor", into(config.energy_floor)},
               {"raw_energy", into(config.raw_energy)},
               {"use_log_fbank", into(config.use_log_fbank)},
               {"use_power", into(config.use_power)},
               {"vtln_warp", into(config.vtln_warp)},
               {"scale", into(config.scale)}},
              name);
  config.check(name);
  return config;
}

FbankConfig read_fbank_config(const std::string& path) {
  const auto bytes = read_file(path, kMostBytes);
  return parse_fbank_config(std::string(bytes.begin(), bytes.end()), path);
}

std::vector<std::string> differences(const FbankConfig& given, const FbankConfig& model) {
  std::vector<std::string> found;
  const auto number = [&found](const char* name, double ours, double theirs) {
    if (ours != theirs) found.push_back(formatted("%s=%g (model %g)", name, ours, theirs));
  };
  number("sample_freq", given.frame.sample_freq, model.frame.sample_freq);
  number("frame_shift_ms", given.frame.frame_shift_ms, model.frame.frame_shift_ms);
  number("frame_length_ms", given.frame.frame_length_ms, model.frame.frame_length_ms);
  number("dither", given.frame.dither, model.frame.dither);
  number("pre_emphasis_coefficient", given.frame.pre_emphasis_coefficient, model.frame.pre_emphasis_coefficient);
  number("remove_dc_offset", given.frame.remove_dc_offset, model.frame.remove_dc_offset);
  number("round_to_power_of_two", given.frame.round_to_power_of_two, model.frame.round_to_power_of_two);
  number("snip_edges", given.frame.snip_edges, model.frame.snip_edges);
  number("num_bins", given.mel.num_bins, model.mel.num_bins);
  number("low_freq", given.mel.low_freq, model.mel.low_freq);
  number("high_freq", given.mel.high_freq, model.mel.high_freq);
  number("use_energy", given.use_energy, model.use_energy);
  number("use_log_fbank", given.use_log_fbank, model.use_log_fbank);
  number("use_power", given.use_power, model.use_power);
  number("vtln_warp", given.vtln_warp, model.vtln_warp);
  if (given.frame.window_type != model.frame.window_type)
    found.push_back("window_type=" + given.frame.window_type + " (model " + model.frame.window_type + ")");
  return found;
}

}  // namespace speaker
