// From samples to what a network takes: the settings in the model's metadata, or those of fbank_config.json.
//   const FrontEnd front_end(file, "model.onnx", "assets/fbank_config.json"); front_end.features(audio.samples);
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "feature/cmvn.h"
#include "feature/fbank.h"
#include "model/onnx_file.h"

namespace speaker {

class FrontEnd {
 public:
  // `fbank_config` may be empty where the metadata hold the settings. Throws Error where both are there and differ,
  // neither is there, or the network takes other features.
  FrontEnd(const OnnxFile& file, const std::string& path, const std::string& fbank_config);
  bool takes_waveform() const { return !fbank_; }
  int sample_rate() const { return sample_rate_; }
  std::size_t min_samples() const { return min_samples_; }
  bool may_resample(int from_rate) const;
  Matrix features(const std::vector<float>& samples) const;

 private:
  std::unique_ptr<Fbank> fbank_;
  CmvnConfig cmvn_;
  FbankConfig config_;
  int sample_rate_ = 0;
  std::size_t min_samples_ = 0;
};

}  // namespace speaker
