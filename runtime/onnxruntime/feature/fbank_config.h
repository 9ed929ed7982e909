// Settings of Kaldi's mel filter bank, under the names of fbank_config.json, and their reader.
//   const FbankConfig config = read_fbank_config("assets/fbank_config.json");
#pragma once

#include <string>
#include <vector>

namespace speaker {

struct FrameExtractionOptions {
  double sample_freq = 16000;
  double frame_shift_ms = 10;
  double frame_length_ms = 25;
  double dither = 0;  // Kaldi's default is 1; 0 keeps the features a function of the samples
  double pre_emphasis_coefficient = 0.97;
  bool remove_dc_offset = true;
  std::string window_type = "povey";
  bool round_to_power_of_two = true;
  double blackman_coefficient = 0.42;
  bool snip_edges = true;
  bool allow_downsample = false;
  bool allow_upsample = false;
  int max_feature_vectors = -1;
};

struct MelBanksOptions {
  int num_bins = 80;
  double low_freq = 20;
  double high_freq = 0;  // 0 or less is an offset from the Nyquist frequency
  double vtln_low = 100;
  double vtln_high = -500;  // negative: an offset from the Nyquist frequency
};

struct FbankConfig {
  FrameExtractionOptions frame;
  MelBanksOptions mel;
  bool use_energy = false;
  double energy_floor = 0;
  bool raw_energy = true;
  bool use_log_fbank = true;
  bool use_power = true;
  double vtln_warp = 1;
  double scale = 32768;  // what samples in [-1, 1] are multiplied by; a model's metadata may name another
  double log_floor = 1.1920928955078125e-07;  // least energy under the logarithm

  int sample_rate() const { return static_cast<int>(frame.sample_freq); }
  int frame_length() const;  // in samples
  int frame_shift() const;
  int fft_size() const;
  int dim() const { return mel.num_bins + (use_energy ? 1 : 0); }
  // Throws Error, which names `name`, where a value is out of range.
  void check(const std::string& name) const;
};

// Throws Error where the file cannot be read, is no JSON, or has an unknown field or a value of another type.
FbankConfig read_fbank_config(const std::string& path);
FbankConfig parse_fbank_config(const std::string& text, const std::string& name);

// What differs, "dither=1 (model 0)", between settings and those a model was trained with.
std::vector<std::string> differences(const FbankConfig& given, const FbankConfig& model);

}  // namespace speaker
