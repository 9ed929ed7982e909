// What the server hears while somebody speaks: const live = new Live(hello, onAnswer, onError);
// live.send(number, samples); await live.end() -> the last answer. Pieces wait until the socket is open.

import { ApiError, key, socketAddress } from "./api.js";
import { t } from "./i18n.js";

const END_S = 30; // for the last answer

export class Live {
  constructor(hello, onAnswer, onError) {
    this.last = null;
    this.error = null;
    this.waiting = [];
    this.socket = new WebSocket(socketAddress());
    this.socket.binaryType = "arraybuffer";
    this.closed = new Promise((done) => { this.socket.onclose = done; });
    this.socket.onopen = () => {
      this.socket.send(JSON.stringify({ ...hello, ...(key() ? { key: key() } : {}) }));
      this.waiting.forEach((one) => this.socket.send(one));
      this.waiting = null;
    };
    this.socket.onmessage = ({ data }) => {
      const told = JSON.parse(data);
      if (told.error) {
        this.error = new ApiError(0, told.error, told.message);
        onError(this.error);
      } else {
        this.last = told;
        onAnswer(told);
      }
    };
  }

  push(message) {
    if (this.waiting) this.waiting.push(message);
    else if (this.socket.readyState === WebSocket.OPEN) this.socket.send(message);
  }

  send(number, samples) {
    const message = new DataView(new ArrayBuffer(4 + 2 * samples.length));
    message.setUint32(0, number, true);
    samples.forEach((one, i) => message.setInt16(4 + 2 * i, one, true));
    this.push(message.buffer);
  }

  /** The answer to all that was sent. */
  async end() {
    this.push(JSON.stringify({ end: true }));
    await Promise.race([this.closed, new Promise((done) => setTimeout(done, 1000 * END_S))]);
    this.socket.close();
    if (this.error) throw this.error;
    if (!this.last?.is_final) throw new ApiError(0, "network", t("error_network"));
    return this.last;
  }

  drop() {
    this.socket.onmessage = null;
    this.socket.close();
  }
}
