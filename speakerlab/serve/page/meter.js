// The level of the microphone: const meter = new Meter(); meter.add(rms, peak); meter.node.
// The last seconds as bars, the present level for screen readers, a word when it is too quiet or clipped.

import { h, only } from "./dom.js";
import { number, t } from "./i18n.js";

const FLOOR_DB = -60;
const QUIET_DB = -45; // a voice near a microphone lies above it
const BARS = 96;
const CLIPPED = 3; // of the last 32 bars: one loud sound is no fault
const WORD_S = 0.8; // how long a word stays

export function decibels(rms) {
  return rms > 0 ? Math.max(FLOOR_DB, 20 * Math.log10(rms)) : FLOOR_DB;
}

export class Meter {
  constructor() {
    this.canvas = h("canvas", { "aria-hidden": "true" });
    this.gauge = h("div", {
      class: "meter", role: "meter", "aria-valuemin": FLOOR_DB, "aria-valuemax": 0, "aria-valuenow": FLOOR_DB,
      "aria-label": () => t("meter_level"),
    }, this.canvas);
    this.word = h("p", { class: "meter-word" });
    this.node = h("div", { class: "meter-box" }, this.gauge, this.word);
    this.reset();
  }

  reset() {
    this.levels = [];
    this.loudest = FLOOR_DB;
    this.state = "";
    this.changed = 0;
    only(this.word);
    this.draw();
  }

  add(rms, peak) {
    const level = decibels(rms);
    this.levels.push({ level, clipped: peak >= 0.999 });
    if (this.levels.length > BARS) this.levels.shift();
    this.gauge.setAttribute("aria-valuenow", Math.round(level));
    this.gauge.setAttribute("aria-valuetext", `${number(level)} dB`);
    this.tell();
    this.draw();
  }

  tell() {
    const late = this.levels.slice(-32);
    const state = late.filter((one) => one.clipped).length >= CLIPPED ? "clipped"
      : Math.max(...late.map((one) => one.level)) < QUIET_DB ? "quiet" : "good";
    const now = performance.now() / 1000;
    if (state === this.state || now - this.changed < WORD_S) return;
    this.state = state;
    this.changed = now;
    this.node.dataset.level = state;
    only(this.word, () => t(`meter_${state}`));
  }

  draw() {
    const ratio = window.devicePixelRatio || 1;
    const width = this.canvas.clientWidth * ratio;
    const height = this.canvas.clientHeight * ratio;
    if (!width) return;
    this.canvas.width = width;
    this.canvas.height = height;
    const pen = this.canvas.getContext("2d");
    const style = getComputedStyle(this.canvas);
    const step = width / BARS;
    const offset = BARS - this.levels.length;
    for (let i = 0; i < BARS; i += 1) {
      const one = this.levels[i - offset];
      const size = one ? Math.max(0.04, 1 - one.level / FLOOR_DB) * height : 2 * ratio;
      pen.fillStyle = style.getPropertyValue(one ? (one.clipped ? "--different" : "--accent") : "--line");
      pen.fillRect(i * step, (height - size) / 2, Math.max(1, step * 0.6), size);
    }
  }
}
