#include "model/rule.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "speaker_engine/error.h"
#include "utils/json.h"
#include "utils/text.h"

namespace speaker {
namespace {

constexpr double kLevelMarginDb = 20.0;  // the mean that is subtracted takes a level out
constexpr double kBandMargin = 1.22;     // a band is 1.237 wide
constexpr double kPriorScores = 10;

Range range_of(const OrderedJson& found) { return {found.at(0).get<double>(), found.at(1).get<double>()}; }

Conditions conditions_of(const OrderedJson& found) {
  return {range_of(found.at("level_db")), range_of(found.at("bandwidth_hz"))};
}

std::vector<std::uint8_t> from_base64(const std::string& text) {
  std::vector<std::uint8_t> bytes;
  std::uint32_t bits = 0;
  int num_bits = 0;
  for (const char letter : text) {
    static const std::string letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const auto place = letters.find(letter);
    if (place == std::string::npos) continue;  // the padding
    bits = bits << 6 | static_cast<std::uint32_t>(place);
    num_bits += 6;
    if (num_bits < 8) continue;
    num_bits -= 8;
    bytes.push_back(static_cast<std::uint8_t>(bits >> num_bits));
  }
  return bytes;
}

// A float64 array as {"shape", "float64"}: its rows, one where it has one axis.
std::vector<Vector> array_of(const OrderedJson& found) {
  const auto shape = found.at("shape").get<std::vector<std::size_t>>();
  const auto bytes = from_base64(found.at("float64").get<std::string>());
  const std::size_t rows = shape.size() == 2 ? shape[0] : 1;
  const std::size_t columns = shape.empty() ? 0 : shape.back();
  if (shape.empty() || shape.size() > 2 || rows == 0 || columns == 0 || bytes.size() / 8 / rows != columns ||
      bytes.size() % (8 * rows) != 0)
    throw std::out_of_range("an array of another shape");
  std::vector<Vector> values(rows, Vector(columns));
  for (std::size_t n = 0; n < rows; ++n) std::memcpy(values[n].data(), bytes.data() + n * columns * 8, columns * 8);
  return values;
}

// Texts and numbers that answers repeat; anything else is refused.
std::string text_of(const OrderedJson& found) { return found.get<std::string>(); }
double number_of(const OrderedJson& found) { return found.get<double>(); }
std::int64_t count_of(const OrderedJson& found) { return found.get<std::int64_t>(); }

OrderedJson count_or_null(const OrderedJson& found, const char* key) {
  const bool is_known = found.contains(key) && !found[key].is_null();
  return is_known ? OrderedJson(count_of(found[key])) : OrderedJson();
}

Calibration calibration_of(const OrderedJson& found) {
  Calibration result;
  result.scale = found.at("scale").get<double>();
  result.offset = found.at("offset").get<double>();
  const auto& point = found.at("point");
  const double target = point.at("p_target").get<double>();
  const double log_odds =
      std::log(point.at("c_miss").get<double>() * target) - std::log(point.at("c_fa").get<double>() * (1 - target));
  result.threshold = (-log_odds - result.offset) / result.scale;
  if (!(result.scale > 0) || !std::isfinite(result.threshold)) throw std::out_of_range("a scale that is not positive");
  result.domain = found.value("domain", "");
  if (found.contains("conditions") && !found["conditions"].is_null())
    result.conditions = conditions_of(found["conditions"]);
  result.told = {{"kind", "trials"},
                 {"domain", result.domain.empty() ? OrderedJson() : OrderedJson(result.domain)},
                 {"made_of", text_of(found.at("trials"))},
                 {"num_targets", count_of(found.at("num_targets"))},
                 {"num_nontargets", count_of(found.at("num_nontargets"))},
                 {"num_misses", count_or_null(found, "num_misses")},
                 {"num_false_accepts", count_or_null(found, "num_false_accepts")},
                 {"operating_point", text_of(found.at("point_name"))}};
  return result;
}

Adaptation adaptation_of(const OrderedJson& found) {
  Adaptation result;
  const auto& norm = found.at("norm");
  result.norm.mean = array_of(norm.at("mean")).at(0);
  result.norm.cohort = array_of(norm.at("cohort"));
  result.norm.top_n = norm.at("top_n").get<std::size_t>();
  result.norm.location = norm.at("location").get<double>();
  result.norm.spread = norm.at("spread").get<double>();
  result.norm.same_person = norm.at("same_person").get<double>();
  result.threshold = found.at("threshold").get<double>();
  result.conditions = conditions_of(found.at("conditions"));
  result.told = {
      {"kind", "adaptation"},
      {"domain", text_of(found.at("domain"))},
      {"made_of", text_of(found.at("recordings"))},
      {"num_recordings", count_of(found.at("num_recordings"))},
      {"num_people", count_of(found.at("num_people"))},
      {"false_accept", number_of(found.at("false_accept"))},
      {"false_accept_interval", {number_of(found.at("interval").at(0)), number_of(found.at("interval").at(1))}}};
  return result;
}

double dot(const Vector& first, const Vector& second) {
  double sum = 0;
  for (std::size_t n = 0; n < first.size(); ++n) sum += first[n] * second[n];
  return sum;
}

void to_unit(Vector& vector) {
  const double length = std::max(std::sqrt(dot(vector, vector)), 1e-12);
  for (double& value : vector) value /= length;
}

std::string range_khz(Range range) {
  const auto low = formatted("%.1f", range.low / 1000);
  const auto high = formatted("%.1f", range.high / 1000);
  return low == high ? high + " kHz" : low + " to " + high + " kHz";
}

}  // namespace

std::vector<std::string> Conditions::outside(const SpeechCheck& check) const {
  std::vector<std::string> found;
  const double reach = check.bandwidth_hz;
  if (!(bandwidth_hz.low / kBandMargin <= reach && reach <= bandwidth_hz.high * kBandMargin))
    found.push_back(
        formatted("its speech reaches %.1f kHz, the calibration's %s", reach / 1000, range_khz(bandwidth_hz).c_str()));
  if (!(level_db.low - kLevelMarginDb <= check.level_db && check.level_db <= level_db.high + kLevelMarginDb))
    found.push_back(formatted("its level is %.0f dB, the calibration's %.0f to %.0f dB", check.level_db, level_db.low,
                              level_db.high));
  return found;
}

Vector DomainNorm::centred(const std::vector<float>& embedding) const {
  if (embedding.size() != mean.size())
    throw Error("the adaptation is of embeddings of another size; adapt the model again: speakerlab adapt");
  Vector result(embedding.begin(), embedding.end());
  to_unit(result);
  for (std::size_t n = 0; n < result.size(); ++n) result[n] -= mean[n];
  to_unit(result);
  return result;
}

// Gain and bias: the score of two is their cosine times the sum of their gains, plus the sum of their biases.
std::pair<double, double> DomainNorm::affine(const Vector& centred) const {
  Vector known;
  for (const Vector& other : cohort)
    if (const double score = dot(centred, other); score < same_person) known.push_back(score);
  std::sort(known.rbegin(), known.rend());
  if (known.size() > top_n) known.resize(top_n);
  const auto count = static_cast<double>(known.size());
  double average = 0;
  double square = 0;
  for (const double score : known) {
    average += score / count;
    square += score * score / count;
  }
  const double weight = count / (count + kPriorScores);
  const double centre = location + weight * (average - location);
  const double deviation =
      std::max(spread + weight * (std::sqrt(std::max(square - average * average, 0.0)) - spread), 1e-12);
  const double gain = spread / (2 * deviation);
  return {gain, location / 2 - gain * centre};
}

double DomainNorm::score(const Vector& first, const Vector& second) const {
  const auto [gain_1, bias_1] = affine(first);
  const auto [gain_2, bias_2] = affine(second);
  return dot(first, second) * (gain_1 + gain_2) + bias_1 + bias_2;
}

const Conditions* Rule::conditions() const {
  if (adaptation) return &adaptation->conditions;
  return calibration && calibration->conditions ? &*calibration->conditions : nullptr;
}

OrderedJson Rule::told() const {
  if (!adaptation) return calibration ? calibration->told : OrderedJson();
  OrderedJson both = adaptation->told;
  if (calibration)
    for (const char* key : {"num_targets", "num_nontargets", "num_misses", "num_false_accepts", "operating_point"})
      both[key] = calibration->told.at(key);
  return both;
}

void Rule::give(double given) {
  if (!std::isfinite(given)) throw Error("the threshold is no number");
  if (!adaptation && (given < -1 || given > 1))
    throw Error(formatted("the threshold %g is no cosine, which lies in -1..1", given));
  threshold = given;
  origin = "given";
}

Rule read_rule(const std::map<std::string, std::string>& metadata, const std::string& path) {
  Rule rule;
  const auto found = [&metadata](const char* key) { return metadata.find(key); };
  try {
    if (found("adaptation") != metadata.end()) {
      const auto told = parse_json<OrderedJson>(found("adaptation")->second);
      rule.adaptation = adaptation_of(told);
      if (told.contains("calibration") && !told["calibration"].is_null())
        rule.calibration = calibration_of(told["calibration"]);
      rule.threshold = rule.calibration ? rule.calibration->threshold : rule.adaptation->threshold;
      rule.origin = rule.calibration ? "calibrated" : "adapted";
    } else if (found("calibration") != metadata.end()) {
      rule.calibration = calibration_of(parse_json<OrderedJson>(found("calibration")->second));
      rule.threshold = rule.calibration->threshold;
      rule.origin = "calibrated";
    } else if (found("threshold") != metadata.end()) {
      rule.threshold = std::stod(found("threshold")->second);
      rule.origin = "published";
      if (!std::isfinite(*rule.threshold)) throw std::out_of_range("a threshold that is no number");
    }
  } catch (const std::exception& error) {  // of the JSON reader and of conversions
    throw Error(path, std::string("its metadata are not of this version (") + error.what() + ")",
                "export it again: speakerlab export");
  }
  return rule;
}

}  // namespace speaker
