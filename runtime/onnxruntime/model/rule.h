// How a model's scores become decisions, from the metadata of its file: calibration, adaptation to a domain, threshold.
//   const Rule rule = read_rule(file.metadata, "model.onnx"); rule.score(first, second);
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "feature/speech_check.h"

namespace speaker {

using OrderedJson = nlohmann::ordered_json;
using Vector = std::vector<double>;

struct Range {
  double low = 0, high = 0;
};

// Recordings that a calibration holds for.
struct Conditions {
  Range level_db, bandwidth_hz;
  std::vector<std::string> outside(const SpeechCheck& check) const;
};

struct Calibration {
  double scale = 1, offset = 0, threshold = 0;
  std::string domain;
  OrderedJson told;  // what answers say of it
  std::optional<Conditions> conditions;
  double llr(double score) const { return scale * score + offset; }
};

// Scores normalised in a domain: mean, cohort and the statistics of the average recording.
struct DomainNorm {
  Vector mean;
  std::vector<Vector> cohort;
  std::size_t top_n = 0;
  double location = 0, spread = 0, same_person = 0;
  Vector centred(const std::vector<float>& embedding) const;
  double score(const Vector& first, const Vector& second) const;

 private:
  std::pair<double, double> affine(const Vector& centred) const;
};

struct Adaptation {
  DomainNorm norm;
  double threshold = 0;
  OrderedJson told;
  Conditions conditions;
};

struct Rule {
  std::optional<Calibration> calibration;
  std::optional<Adaptation> adaptation;
  std::optional<double> threshold;
  std::string origin = "none";  // of the threshold: given, calibrated, adapted, published or none

  const Conditions* conditions() const;
  OrderedJson told() const;
  void give(double threshold);  // in place of the model's; throws Error where it is no score
};

// Throws Error where the metadata are damaged.
Rule read_rule(const std::map<std::string, std::string>& metadata, const std::string& path);

}  // namespace speaker
