// Samples of the microphone in numbered pieces of 16 bits, on the audio thread.

const PIECE_S = 0.064;

class Capture extends AudioWorkletProcessor {
  constructor() {
    super();
    this.size = Math.round(PIECE_S * sampleRate);
    this.number = 0;
    this.start();
    this.ended = false;
    this.port.onmessage = () => {
      this.post();
      this.port.postMessage({ end: true, count: this.number });
      this.ended = true;
    };
  }

  start() {
    this.samples = new Int16Array(this.size);
    this.filled = 0;
    this.peak = 0;
    this.power = 0;
  }

  post() {
    if (!this.filled) return;
    const samples = this.samples.slice(0, this.filled);
    const rms = Math.sqrt(this.power / this.filled);
    this.port.postMessage({ number: this.number, samples, peak: this.peak, rms }, [samples.buffer]);
    this.number += 1;
    this.start();
  }

  process(inputs) {
    if (this.ended) return false;
    const channel = inputs[0][0];
    if (!channel) return true;
    for (const value of channel) {
      this.samples[this.filled] = Math.max(-32768, Math.min(32767, Math.round(value * 32768)));
      this.filled += 1;
      this.power += value * value;
      this.peak = Math.max(this.peak, Math.abs(value));
      if (this.filled === this.size) this.post();
    }
    return true;
  }
}

registerProcessor("capture", Capture);
