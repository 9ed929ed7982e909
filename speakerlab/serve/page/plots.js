// The DET curve on probit axes and the histograms of both kinds of scores, as SVG in the size of their place.

import { probit } from "./detection.js";
import { only, s } from "./dom.js";
import { percent, score, t } from "./i18n.js";

const TICKS = [0.0001, 0.001, 0.01, 0.05, 0.2, 0.4, 0.6, 0.8, 0.95];
const GRID = [...TICKS, 0.0002, 0.0005, 0.002, 0.005, 0.02, 0.1];
const CELL = 500; // points nearer than 1/500 deviate look the same
const BINS = 60;

/** A rate of zero lies at half a trial: a list of that size can resolve no less. */
function deviate(rate, trials) {
  const floor = 0.5 / trials;
  return probit(Math.min(1 - floor, Math.max(floor, rate)));
}

const drawn = new WeakMap(); // the curve of a list, which a moving threshold does not change

function curveOf(list) {
  if (drawn.has(list)) return drawn.get(list);
  const shown = [];
  drawn.set(list, shown);
  let last = "";
  for (const one of list.points()) {
    const [x, y] = [deviate(one.far, list.nontargets.length), deviate(one.frr, list.targets.length)];
    const cell = `${Math.round(x * CELL)} ${Math.round(y * CELL)}`;
    if (cell !== last) shown.push([x, y]);
    last = cell;
  }
  return shown;
}

export function drawDet(place, list, eer, rates) {
  const size = Math.max(240, Math.min(460, place.clientWidth || 360));
  const [left, top] = [52, 8];
  const plot = size - left - top;
  const lowest = Math.min(0.5 / list.targets.length, 0.5 / list.nontargets.length, eer / 4 || 1);
  const [low, high] = [probit(Math.min(0.005, Math.max(0.00005, lowest))), probit(eer > 0.3 ? 0.95 : 0.6)];
  const x = (value) => left + (plot * (value - low)) / (high - low);
  const y = (value) => top + plot - (plot * (value - low)) / (high - low);
  const inside = (rate) => probit(rate) >= low && probit(rate) <= high;
  const line = (d, kind) => s("path", { d, class: kind });
  const grid = GRID.filter(inside).map(probit).map((at) => line(`M${x(at)} ${top}V${top + plot}M${left} ${y(at)}H${left + plot}`, "grid"));
  const labels = TICKS.filter(inside).flatMap((rate) => {
    const [at, text] = [probit(rate), `${100 * rate}`.replace(/(\.\d*[1-9])0{3,}\d$/, "$1")];
    return [s("text", { x: x(at), y: top + plot + 16, class: "tick middle" }, text), s("text", { x: left - 6, y: y(at) + 4, class: "tick end" }, text)];
  });
  const path = curveOf(list).map(([a, b], i) => `${i ? "L" : "M"}${x(a).toFixed(1)} ${y(b).toFixed(1)}`).join("");
  const mark = (far, frr, kind) => s("circle", { cx: x(deviate(far, list.nontargets.length)), cy: y(deviate(frr, list.targets.length)), r: 5, class: kind });
  const clip = s("clipPath", { id: "det-clip" }, s("rect", { x: left, y: top, width: plot, height: plot }));
  const middle = left + plot / 2;
  const text = t("det_alt", { eer: percent(eer), far: percent(rates.far), frr: percent(rates.frr) });
  only(place, s("svg", { viewBox: `0 0 ${size} ${size + 4}`, width: size, height: size + 4, role: "img", "aria-label": text },
    clip, grid, line(`M${x(low)} ${y(low)}L${x(high)} ${y(high)}`, "grid"), labels,
    s("text", { x: middle, y: size - 4, class: "axis middle" }, t("det_far")),
    s("text", { x: 13, y: top + plot / 2, class: "axis middle", transform: `rotate(-90 13 ${top + plot / 2})` }, t("det_frr")),
    s("g", { "clip-path": "url(#det-clip)" }, line(path, "curve"), mark(eer, eer, "mark-eer"), mark(rates.far, rates.frr, "mark-now"))));
}

const bins = new WeakMap(); // of the scores of a list, whose ends stay

function counted(values, low, high) {
  if (bins.has(values)) return bins.get(values);
  const counts = new Array(BINS).fill(0);
  for (const one of values) counts[Math.min(BINS - 1, Math.floor((BINS * (one - low)) / (high - low)))] += 1;
  bins.set(values, counts);
  return counts;
}

export function drawHistogram(place, list, threshold, [low, high]) {
  const [width, height, edge] = [Math.max(240, place.clientWidth || 600), 132, 10];
  const x = (value) => edge + ((width - 2 * edge) * (value - low)) / (high - low);
  const area = (values) => {
    const counts = counted(values, low, high);
    const most = Math.max(...counts);
    const bin = (width - 2 * edge) / BINS;
    const steps = counts.map((n, i) => `L${(edge + i * bin).toFixed(1)} ${(height - (height - 26) * (n / most)).toFixed(1)}h${bin.toFixed(2)}`);
    return `M${edge} ${height}${steps.join("")}V${height}Z`;
  };
  const at = x(Math.min(high, Math.max(low, threshold)));
  const isRight = at > width / 2;
  only(place, s("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": t("histogram_alt", { t: score(threshold) }) },
    s("path", { d: area(list.nontargets), class: "hist different" }), s("path", { d: area(list.targets), class: "hist same" }),
    s("path", { d: `M${edge} ${height - 0.5}H${width - edge}`, class: "grid" }),
    s("path", { d: `M${at} 4V${height}`, class: "limit-line" }),
    s("text", { x: isRight ? at - 8 : at + 8, y: 14, class: `axis ${isRight ? "end" : ""}` }, t("scale_threshold", { n: score(threshold) }))));
}
