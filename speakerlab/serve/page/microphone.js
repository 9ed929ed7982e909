// The microphone: const mic = await Microphone.open({onPiece, onLost}); const {wav, seconds} = await mic.stop().
// Processing is off, since it changes voices. The rate is whatever comes; the server resamples.

const WANTED = { audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false } };
const PROCESSING = Object.keys(WANTED.audio);

/** Why there is no microphone, as a key of texts.js. */
export function faultOf(error) {
  const known = {
    NotAllowedError: "mic_denied", SecurityError: "mic_denied", NotFoundError: "mic_missing",
    OverconstrainedError: "mic_missing", NotReadableError: "mic_busy", AbortError: "mic_busy",
  };
  return known[error.name] || "mic_failed";
}

/** The reason why this page cannot have one at all; null where it may. */
export function unavailable() {
  if (!window.isSecureContext) return "mic_insecure";
  if (!navigator.mediaDevices?.getUserMedia || !window.AudioWorkletNode) return "mic_unsupported";
  return null;
}

export class Microphone {
  static async open({ onPiece, onLost }) {
    const stream = await navigator.mediaDevices.getUserMedia(WANTED);
    const context = new AudioContext();
    try {
      await context.audioWorklet.addModule("capture-worklet.js");
      await context.resume();
      return new Microphone(stream, context, onPiece, onLost);
    } catch (error) {
      stream.getTracks().forEach((track) => track.stop());
      context.close();
      throw error;
    }
  }

  constructor(stream, context, onPiece, onLost) {
    Object.assign(this, { stream, context, onPiece, onLost });
    this.rate = context.sampleRate;
    this.pieces = [];
    this.count = 0; // samples
    this.lost = false;
    const [track] = stream.getAudioTracks();
    const settings = track.getSettings();
    this.processed = PROCESSING.some((name) => settings[name] === true);
    track.onended = () => this.fail();
    context.onstatechange = () => context.state !== "running" && this.fail(); // a call comes in, the device sleeps
    // one channel: two are averaged by the browser
    this.node = new AudioWorkletNode(context, "capture", {
      numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit", channelInterpretation: "speakers",
    });
    this.ended = new Promise((done) => { this.finish = done; });
    this.node.port.onmessage = ({ data }) => this.take(data);
    context.createMediaStreamSource(stream).connect(this.node);
  }

  get seconds() {
    return this.count / this.rate;
  }

  take(data) {
    if (data.end) {
      if (data.count !== this.pieces.length) this.lost = true;
      this.finish();
    } else if (data.number !== this.pieces.length) this.fail();
    else {
      this.pieces.push(data.samples);
      this.count += data.samples.length;
      this.onPiece(data);
    }
  }

  fail() {
    if (this.lost) return;
    this.lost = true;
    this.onLost();
  }

  async stop() {
    this.node.port.postMessage("end");
    await Promise.race([this.ended, new Promise((done) => setTimeout(done, 1000))]);
    this.context.onstatechange = null;
    this.stream.getTracks().forEach((track) => { track.onended = null; track.stop(); });
    await this.context.close();
    return { wav: wav(this.pieces, this.rate), seconds: this.seconds, lost: this.lost };
  }
}

/** A WAV file, 16-bit, mono. */
export function wav(pieces, rate) {
  const bytes = pieces.reduce((sum, piece) => sum + 2 * piece.length, 0);
  const head = new DataView(new ArrayBuffer(44));
  const text = (at, letters) => [...letters].forEach((one, i) => head.setUint8(at + i, one.charCodeAt(0)));
  text(0, "RIFF");
  head.setUint32(4, 36 + bytes, true);
  text(8, "WAVEfmt ");
  head.setUint32(16, 16, true);
  head.setUint16(20, 1, true);
  head.setUint16(22, 1, true);
  head.setUint32(24, rate, true);
  head.setUint32(28, 2 * rate, true);
  head.setUint16(32, 2, true);
  head.setUint16(34, 16, true);
  text(36, "data");
  head.setUint32(40, bytes, true);
  return new Blob([head, ...pieces], { type: "audio/wav" });
}
