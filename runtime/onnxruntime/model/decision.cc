#include "model/decision.h"

#include <algorithm>
#include <cmath>

#include "utils/text.h"

namespace speaker {
namespace {

constexpr char kSynthetic[] = "synthetic speech";
constexpr char kSyntheticNote[] = "this model knows synthetic voices only; its scores mean little for people";
constexpr char kNoThreshold[] = "this model has no threshold; calibrate it or give one";
constexpr char kAdapt[] = "; adapt the model to such recordings: speakerlab adapt";
constexpr double kMost = 1e6;  // times; beyond it no calibration has the trials to tell

struct Judged {
  std::vector<std::string> reasons, notes;
  std::optional<bool> is_inside;
};

// What lies outside the calibration speaks against its threshold, and not against one that was given.
Judged judge(const Heard& first, const Heard& second, const Rule& rule, bool is_synthetic) {
  Judged found;
  std::vector<std::string> outside;
  const std::pair<std::string, const Heard*> both[] = {{"first recording: ", &first}, {"second recording: ", &second}};
  for (const auto& [prefix, heard] : both) {
    for (const auto& why : heard->speech.reasons) found.reasons.push_back(prefix + why);
    if (rule.conditions())
      for (const auto& why : rule.conditions()->outside(heard->speech)) outside.push_back(prefix + why);
  }
  if (rule.conditions()) found.is_inside = outside.empty();
  if (is_synthetic) found.is_inside = false;
  if (!rule.threshold) found.reasons.emplace_back(kNoThreshold);
  if (is_synthetic) found.notes.emplace_back(kSyntheticNote);
  const bool is_own = rule.origin == "calibrated" || rule.origin == "adapted";
  for (const auto& why : outside) (is_own ? found.reasons : found.notes).push_back(is_own ? why + kAdapt : why);
  return found;
}

std::string label_of(const Judged& judged, double score, const Rule& rule) {
  if (!judged.reasons.empty() || !rule.threshold) return "Uncertain";
  return score >= *rule.threshold ? "Same" : "Different";
}

// [p, 1 - p] for same and different; both 0 where uncertain.
OrderedJson two_scores(const std::string& label, double score, const Rule& rule) {
  if (label == "Uncertain") return {0.0, 0.0};
  const double room = 1 - *rule.threshold;
  const double above = std::min(std::max(score - *rule.threshold, 0.0), std::max(room, 0.0));
  const double mapped = room > 0 ? above / room : (label == "Same" ? 1.0 : 0.0);
  return {mapped, 1 - mapped};
}

template <typename Value>
OrderedJson or_null(const std::optional<Value>& value) {
  return value ? OrderedJson(*value) : OrderedJson();
}

OrderedJson json_of(const Heard& heard, int model_rate) {
  return {{"origin", heard.origin},
          {"sample_rate", heard.sample_rate},
          {"model_sample_rate", model_rate},
          {"channel", heard.channel},
          {"num_channels", heard.num_channels},
          {"duration_s", heard.speech.duration_s},
          {"speech_s", heard.speech.speech_s},
          {"level_db", heard.speech.level_db},
          {"clipped", heard.speech.clipped},
          {"bandwidth_hz", heard.speech.bandwidth_hz}};
}

std::string with_commas(double number) {
  std::string digits = formatted("%.0f", number);
  for (int place = static_cast<int>(digits.size()) - 3; place > 0; place -= 3)
    digits.insert(static_cast<std::size_t>(place), ",");
  return digits;
}

// The likelihood ratio of its logarithm from 0 up, in words: "12.2 times", "89,000 times".
std::string times(double llr) {
  if (llr > std::log(kMost)) return "more than " + with_commas(kMost) + " times";
  const double ratio = std::exp(llr);
  return ratio < 100 ? formatted("%.1f times", ratio) : with_commas(std::stod(formatted("%.2g", ratio))) + " times";
}

std::string confidence(const Decision& decision, const Rule& rule, const std::optional<bool>& is_inside) {
  const OrderedJson known = rule.told();
  if (known.is_null()) return "not known: the model is not calibrated (steps/calibrate_model.sh, speakerlab adapt)";
  if (is_inside && !*is_inside) return "not known: the calibration does not hold for these recordings";
  if (decision.label == "Uncertain") return "not known: there is no decision";
  if (!decision.llr) {
    if (rule.origin == "given") return "not known: the model was adapted for its own threshold, and another is given";
    const auto& interval = known.at("false_accept_interval");
    return formatted("the threshold accepts %.2f to %.2f %% of pairs of different people (%g %% wanted)",
                     100 * interval.at(0).get<double>(), 100 * interval.at(1).get<double>(),
                     100 * known.at("false_accept").get<double>());
  }
  if (!is_inside) {
    const auto made_of = known.at("made_of").get<std::string>();
    return formatted("log-likelihood ratio %+.2f, if the calibration (%s) holds here", *decision.llr, made_of.c_str());
  }
  const char* side = *decision.llr >= 0 ? "the same speaker" : "different speakers";
  return times(std::abs(*decision.llr)) +
         formatted(" as likely from %s (log-likelihood ratio %+.2f)", side, *decision.llr);
}

std::string model_text(const Rule& rule, const Identity& model) {
  std::string text = model.name;
  if (model.domain && !model.domain->empty()) text += ", trained on " + *model.domain;
  const OrderedJson known = rule.told();
  if (!known.is_null() && known.at("domain").is_string() && !known.at("domain").get<std::string>().empty())
    text += (rule.adaptation ? ", adapted to " : ", calibrated on ") + known.at("domain").get<std::string>();
  return text;
}

std::string text_of(const Decision& decision, const Rule& rule, const Identity& model,
                    const std::optional<bool>& is_inside) {
  const std::string words = decision.label == "Same"        ? "same speaker"
                            : decision.label == "Different" ? "different speakers"
                                                            : "uncertain";
  const std::string kind = rule.adaptation ? "adapted score" : "cosine";
  std::string text = "decision   " + words + "\nscore      " + formatted("%.4f", decision.score) + " (" + kind;
  text += rule.threshold ? formatted("; threshold %.4f, %s)", *rule.threshold, rule.origin.c_str()) : "; no threshold)";
  text += "\nconfidence " + confidence(decision, rule, is_inside) + "\nmodel      " + model_text(rule, model);
  if (decision.label == "Different" && decision.llr.value_or(0) > 0)
    text += "\nnote       not likely enough for the operating point that the threshold is for";
  for (const auto& why : decision.reasons) text += "\nbecause    " + why;
  for (const auto& what : decision.notes) text += "\nnote       " + what;
  return text;
}

}  // namespace

Decision decide(const Heard& first, const Heard& second, const Rule& rule, const Identity& model) {
  const double plain = cosine(first.embedding, second.embedding);
  const double raw = rule.adaptation ? rule.adaptation->norm.score(rule.adaptation->norm.centred(first.embedding),
                                                                   rule.adaptation->norm.centred(second.embedding))
                                     : plain;
  Judged judged = judge(first, second, rule, model.domain == std::optional<std::string>(kSynthetic));
  Decision decision;
  decision.label = label_of(judged, raw, rule);
  decision.score = std::stod(formatted("%.5f", raw));
  decision.threshold = rule.threshold;
  if (rule.calibration && judged.reasons.empty() && judged.is_inside.value_or(true))
    decision.llr = rule.calibration->llr(raw);
  decision.reasons = judged.reasons;
  decision.notes = judged.notes;
  const OrderedJson told = {{"scores", two_scores(decision.label, raw, rule)},
                            {"label", decision.label},
                            {"cosine", plain},
                            {"score", decision.score},
                            {"text", decision.label == "Same"        ? "yes"
                                     : decision.label == "Different" ? "no"
                                                                     : "uncertain"},
                            {"llr", or_null(decision.llr)},
                            {"inside_calibration", or_null(judged.is_inside)},
                            {"threshold", or_null(rule.threshold)},
                            {"threshold_origin", rule.origin},
                            {"model", model.name},
                            {"model_hash", or_null(model.content_hash)},
                            {"domain", or_null(model.domain)},
                            {"calibration", rule.told()},
                            {"reasons", decision.reasons},
                            {"notes", decision.notes},
                            {"audio", {json_of(first, model.sample_rate), json_of(second, model.sample_rate)}}};
  decision.json = told.dump(-1, ' ', true, OrderedJson::error_handler_t::replace);
  decision.text = text_of(decision, rule, model, judged.is_inside);
  return decision;
}

}  // namespace speaker
