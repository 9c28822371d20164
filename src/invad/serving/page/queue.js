// Images on their way to the service: a few at a time, and none lost while it is busy, away or asks for a token.

import { Busy, Unauthorised } from "./api.js";

const LONGEST = 30; // seconds between two tries while the service is away

export class Queue {
  // work(entry, signal): sends one, and throws only Busy, Away and Unauthorised. onChange(): something moved.
  // onLocked(): a token is needed; `resume` goes on, and begins.
  constructor({ work, onChange, onLocked }) {
    Object.assign(this, { work, onChange, onLocked });
    this.waiting = [];
    this.active = new Set();
    this.width = 3;
    this.finished = 0; // of the round that is under way
    this.trouble = null; // {text, until} while nothing is sent
    this.locked = true; // until `resume`: nothing is sent before the service is known
    this.tries = 0;
    this.abort = new AbortController();
  }

  get total() {
    return this.finished + this.active.size + this.waiting.length;
  }

  get idle() {
    return this.active.size + this.waiting.length === 0;
  }

  add(entries) {
    if (this.idle) this.finished = 0;
    this.waiting.push(...entries);
    this.pump();
  }

  resume() {
    this.locked = false;
    this.pump();
  }

  // Give up all that is not finished; returns it.
  stop() {
    const left = [...this.active, ...this.waiting];
    this.waiting = [];
    this.abort.abort();
    this.abort = new AbortController();
    this.ease();
    return left;
  }

  pump() {
    while (!this.locked && !this.trouble && this.waiting.length && this.active.size < this.width)
      this.send(this.waiting.shift());
    this.onChange();
  }

  async send(entry) {
    const { signal } = this.abort;
    this.active.add(entry);
    try {
      await this.work(entry, signal);
      this.tries = 0;
      this.finished++;
    } catch (error) {
      if (signal.aborted) return;
      this.waiting.unshift(entry); // it was not its fault
      if (error instanceof Unauthorised) this.lock(error);
      else if (error instanceof Busy) this.pause("The service is busy", error.seconds);
      else this.pause("The service does not answer", Math.min(LONGEST, 2 * 2 ** this.tries++));
    } finally {
      this.active.delete(entry);
      this.pump();
    }
  }

  lock(error) {
    if (this.locked) return;
    this.locked = true;
    this.onLocked(error);
  }

  // Send nothing for so many seconds, and count them down.
  pause(text, seconds) {
    if (this.trouble) return;
    this.trouble = { text, until: Date.now() + 1000 * seconds };
    this.timer = setInterval(() => {
      if (Date.now() >= this.trouble.until) {
        this.ease();
        this.pump();
      } else this.onChange();
    }, 250);
  }

  ease() {
    clearInterval(this.timer);
    this.trouble = null;
  }
}
