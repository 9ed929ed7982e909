// Error rates of a list of scores, as speakerlab.metrics defines them: accept when score >= threshold.
// const list = read(scoresText, trialsText); list.eer(); list.rates(0.5) -> {far, frr, falseAccepts, misses}

const LABELS = { target: 1, nontarget: 0, 1: 1, 0: 0 };

export class ListError extends Error {
  constructor(key, values = {}) {
    super(key);
    this.key = key;
    this.values = values;
  }
}

function* lines(text) {
  let number = 0;
  for (const line of text.split(/\r?\n/)) {
    number += 1;
    const words = line.trim().split(/\s+/);
    if (words[0]) yield [words, number];
  }
}

function scoreOf(word, line) {
  const value = Number(word);
  if (word === "" || !Number.isFinite(value)) throw new ListError("list_number", { line, word });
  return value;
}

function labelOf(word, line) {
  if (!Object.hasOwn(LABELS, word)) throw new ListError("list_label", { line, word });
  return LABELS[word];
}

/** "a b target", "a b 1" or "1 a b", as the toolkit reads them. */
function trialOf(words, line) {
  if (words.length !== 3) throw new ListError("list_trial", { line });
  const isFirst = Object.hasOwn(LABELS, words[0]) && !Object.hasOwn(LABELS, words[2]);
  const [a, b, label] = isFirst ? [words[1], words[2], words[0]] : words;
  return [`${a} ${b}`, labelOf(label, line)];
}

/** Scores with labels: of lines "score target|nontarget", or lines "a b score" and a list of trials. */
export function read(scores, trials = "") {
  const found = [[], []]; // nontargets, targets
  if (!trials.trim()) {
    for (const [words, line] of lines(scores)) {
      if (words.length !== 2) throw new ListError(words.length === 3 ? "list_trials_missing" : "list_line", { line });
      found[labelOf(words[1], line)].push(scoreOf(words[0], line));
    }
    return new Scores(found[1], found[0]);
  }
  const known = new Map();
  for (const [words, line] of lines(scores)) {
    if (words.length !== 3) throw new ListError("list_score", { line });
    const pair = `${words[0]} ${words[1]}`;
    if (known.has(pair)) throw new ListError("list_twice", { pair });
    known.set(pair, scoreOf(words[2], line));
  }
  const seen = new Set();
  for (const [words, line] of lines(trials)) {
    const [pair, label] = trialOf(words, line);
    if (!known.has(pair)) throw new ListError("list_unscored", { pair });
    if (seen.has(pair)) throw new ListError("list_twice", { pair });
    seen.add(pair);
    found[label].push(known.get(pair));
  }
  return new Scores(found[1], found[0]);
}

/** How many of a rising array lie below a value. */
function below(values, limit) {
  let [low, high] = [0, values.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (values[middle] < limit) low = middle + 1;
    else high = middle;
  }
  return low;
}

export class Scores {
  constructor(targets, nontargets) {
    if (!targets.length || !nontargets.length) throw new ListError("list_kinds");
    this.targets = Float64Array.from(targets).sort();
    this.nontargets = Float64Array.from(nontargets).sort();
    const all = Float64Array.from([...this.both()]).sort();
    this.distinct = all.filter((one, i) => i === 0 || one !== all[i - 1]);
  }

  * both() {
    yield* this.targets;
    yield* this.nontargets;
  }

  get low() {
    return this.distinct[0];
  }

  get high() {
    return this.distinct[this.distinct.length - 1];
  }

  rates(threshold) {
    const misses = below(this.targets, threshold);
    const falseAccepts = this.nontargets.length - below(this.nontargets, threshold);
    return { misses, falseAccepts, frr: misses / this.targets.length, far: falseAccepts / this.nontargets.length };
  }

  /** Rates at each distinct score, rising, and above the highest. */
  points() {
    this.curve ||= [...this.distinct, Infinity].map((threshold) => ({ threshold, ...this.rates(threshold) }));
    return this.curve;
  }

  /** Where the points, joined by straight lines, have equal rates. */
  eer() {
    const points = this.points();
    const after = points.findIndex((one) => one.frr >= one.far); // never the first, which is (1, 0)
    const [a, b] = [points[after - 1], points[after]];
    const [rise, fall] = [b.frr - a.frr, a.far - b.far];
    return (a.frr * fall + a.far * rise) / (rise + fall);
  }

  /** The score at which the rates are closest, the lowest such. */
  eerThreshold() {
    const gap = (one) => Math.abs(one.misses * this.nontargets.length - one.falseAccepts * this.targets.length);
    return this.points().slice(0, -1).reduce((best, one) => (gap(one) < gap(best) ? one : best)).threshold;
  }

  /** The lowest score of the list with a false-accept rate of at most `far`; just above all where none has. */
  thresholdAt(far) {
    return this.points().find((one) => one.far <= far).threshold;
  }
}

/** Inverse of the normal distribution (P. J. Acklam's approximation, relative error below 1.2e-9). */
export function probit(p) {
  const a = [-3.969683028665376e1, 2.209460984245205e2, -2.759285104469687e2, 1.38357751867269e2, -3.066479806614716e1, 2.506628277459239];
  const b = [-5.447609879822406e1, 1.615858368580409e2, -1.556989798598866e2, 6.680131188771972e1, -1.328068155288572e1];
  const c = [-7.784894002430293e-3, -3.223964580411365e-1, -2.400758277161838, -2.549732539343734, 4.374664141464968, 2.938163982698783];
  const d = [7.784695709041462e-3, 3.224671290700398e-1, 2.445134137142996, 3.754408661907416];
  const of = (terms, x) => terms.reduce((sum, one) => sum * x + one, 0);
  if (p > 0.97575) return -probit(1 - p);
  if (p < 0.02425) {
    const q = Math.sqrt(-2 * Math.log(p));
    return of(c, q) / (of(d, q) * q + 1);
  }
  const q = p - 0.5;
  const r = q * q;
  return (of(a, r) * q) / (of(b, r) * r + 1);
}
