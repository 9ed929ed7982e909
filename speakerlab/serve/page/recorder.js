// One recording, by microphone or file: new Recorder({label, hello, onAnswer, onTake}).
// With `hello`, the server hears it live: onAnswer(answer) meanwhile, onTake({blob, name, answer}) at the end.

import { announce, fresh, h, icon, only } from "./dom.js";
import { Live } from "./live.js";
import { Meter } from "./meter.js";
import { Microphone, faultOf, unavailable } from "./microphone.js";
import { model } from "./api.js";
import { number, t } from "./i18n.js";

let active = null; // one microphone at a time

/** End what is being recorded: its view is left. */
export async function stopRecording() {
  await active?.stop();
}

export class Recorder {
  constructor({ label, hello = null, onAnswer = () => {}, onTake = () => {}, onStart = () => {}, several = false }) {
    Object.assign(this, { hello, onAnswer, onTake, onStart, several });
    this.take = null;
    this.state = "idle";
    const labelId = fresh("recorder");
    this.meter = new Meter();
    this.button = h("button", { type: "button", class: "mic", onclick: () => this.toggle() });
    this.file = h("input", {
      type: "file", class: "unseen", accept: "audio/*,video/webm,video/mp4,.wav,.flac,.ogg,.mp3,.m4a,.webm",
      multiple: several, onchange: () => this.choose([...this.file.files]), "aria-label": () => t("file_choose"),
    });
    this.fileLabel = h("label", { class: "button quiet" }, icon("file"),
      () => t(several ? "file_choose_several" : "file_choose"), this.file);
    this.fileLabel.setAttribute("for", (this.file.id = fresh("file")));
    this.status = h("p", { class: "recorder-status" });
    this.fault = h("p", { class: "fault", role: "alert" });
    this.played = h("div", { class: "played" });
    this.node = h("section", { class: "recorder", "aria-labelledby": labelId },
      h("h3", { id: labelId }, label),
      h("div", { class: "recorder-row" }, this.button, this.fileLabel),
      this.meter.node, this.status, this.fault, this.played);
    this.node.addEventListener("dragover", (event) => event.preventDefault());
    this.node.addEventListener("drop", (event) => {
      event.preventDefault();
      this.choose([...event.dataTransfer.files]);
    });
    this.set("idle");
    const why = unavailable();
    if (why) this.blame(() => t(why));
    if (why) this.button.disabled = true;
  }

  set(state) {
    this.state = state;
    this.node.dataset.state = state;
    const isOn = state === "recording";
    only(this.button, icon(isOn ? "stop" : "mic"), () => t(isOn ? "record_stop" : this.take ? "record_again" : "record_start"));
    this.button.classList.toggle("on", isOn);
    this.button.setAttribute("aria-pressed", String(isOn));
    // busy buttons stay focusable: a disabled one would drop the keyboard's place
    this.button.setAttribute("aria-disabled", String(state === "opening" || state === "finishing"));
  }

  say(make) {
    only(this.status, make);
  }

  blame(make) {
    only(this.fault, make);
  }

  toggle() {
    if (this.state === "recording") return this.stop();
    if (this.state === "idle") return this.record();
    return null;
  }

  async record() {
    this.onStart();
    this.clear();
    this.set("opening");
    this.say(() => t("mic_opening"));
    await stopRecording();
    const wanted = this.hello ? await this.hello() : null;
    try {
      this.mic = await Microphone.open({ onPiece: (piece) => this.hear(piece), onLost: () => this.lose() });
    } catch (error) {
      this.set("idle");
      this.say(null);
      this.blame(() => t(faultOf(error)));
      return;
    }
    active = this;
    this.live = wanted && new Live({ rate: this.mic.rate, ...wanted },
      (answer) => this.answered(answer), (error) => this.blame(() => error.message));
    this.meter.reset();
    this.set("recording");
    announce(t("recording_now"));
    this.tell();
    const { max_audio_s: most } = await model().catch(() => ({}));
    this.most = most || 120;
  }

  hear(piece) {
    this.live?.send(piece.number, piece.samples); // the last one comes while the microphone is stopped
    if (this.state !== "recording") return;
    this.meter.add(piece.rms, piece.peak);
    if (piece.number % 4 === 0) this.tell();
    if (this.mic.seconds > this.most - 1) this.stop();
  }

  answered(answer) {
    this.speech = answer.speech_s;
    this.onAnswer(answer);
    if (this.state === "recording") this.tell();
  }

  tell() {
    const told = { s: number(this.mic.seconds, 1), n: this.speech === null ? "" : number(this.speech, 1) };
    this.say(() => t(this.speech === null ? "recording_seconds" : "recording_speech", told));
  }

  lose() {
    this.live?.drop();
    this.onStart(); // answers to a part are none
    this.blame(() => t("mic_lost"));
    if (this.state === "recording") this.stop();
  }

  async stop() {
    if (this.state !== "recording") return;
    this.set("finishing");
    active = null;
    this.say(() => t("recording_finishing"));
    const { wav, seconds, lost } = await this.mic.stop();
    let [answer, fault] = [null, null];
    if (this.live && !lost) [answer, fault] = await this.live.end().then((told) => [told, null], (error) => [null, error]);
    if (lost) {
      this.set("idle");
      this.say(null);
      return;
    }
    const speech = answer ? answer.speech_s : null;
    const name = t("recording_name");
    this.keep({ blob: wav, name, seconds, speech, answer, rate: this.mic.rate });
    if (fault) this.blame(() => fault.message);
    else if (this.mic.processed) this.blame(() => t("mic_processed"));
    announce(t("recording_done", { s: number(seconds, 1) }));
  }

  choose(files) {
    this.file.value = "";
    if (!files.length || this.state !== "idle") return;
    this.onStart();
    this.clear();
    for (const one of this.several ? files : files.slice(0, 1)) this.keep({ blob: one, name: one.name, seconds: null, speech: null, answer: null });
  }

  keep(take) {
    this.set("idle");
    this.say(null);
    if (!this.several) {
      this.take = take;
      this.show(take);
    }
    this.set("idle");
    this.onTake(take);
  }

  show(take) {
    only(this.played, player(take, () => {
      this.clear();
      this.set("idle");
      this.onStart();
      this.button.focus();
    }));
  }

  clear() {
    this.take = null;
    this.speech = null;
    this.live = null;
    this.blame(null);
    this.say(null);
    this.played.querySelectorAll("audio").forEach((one) => URL.revokeObjectURL(one.src));
    only(this.played);
  }
}

/** A take that can be heard and taken away. */
export function player(take, onRemove) {
  const sound = h("audio", { controls: true, preload: "metadata", "aria-label": () => t("take_play", { name: take.name }) });
  sound.src = URL.createObjectURL(take.blob);
  const facts = () => [
    take.seconds === null ? null : t("take_seconds", { s: number(take.seconds, 1) }),
    take.speech === null ? null : t("take_speech", { s: number(take.speech, 1) }),
    take.rate ? t("take_rate", { k: number(take.rate / 1000, 1) }) : null,
  ].filter(Boolean).join(" · ");
  return h("div", { class: "take" },
    h("div", { class: "take-head" },
      h("div", {}, h("span", { class: "take-name" }, take.name), h("span", { class: "soft" }, facts)),
      h("button", { type: "button", class: "bare", onclick: onRemove, "aria-label": () => t("take_remove", { name: take.name }) }, icon("close"))),
    sound);
}
