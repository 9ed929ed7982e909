// Cepstral mean and variance normalisation, over the whole utterance or a window that slides, as a model's metadata
// ask.
//   apply_cmvn(features, CmvnConfig{});  // subtracts the mean
#pragma once

#include "feature/matrix.h"

namespace speaker {

struct CmvnConfig {
  bool mean = true;
  bool std = false;
  int window = 0;  // frames; 0 is the whole utterance
  int min_window = 100;
  bool center = true;
};

void apply_cmvn(Matrix& features, const CmvnConfig& config);

}  // namespace speaker
