// The reading time of a case, without pauses.

export class Clock {
  constructor() {
    this.before = 0;
    this.since = null;
  }

  /** Begin a case that was read for some seconds before. */
  begin(seconds) {
    this.before = seconds;
    this.since = performance.now();
  }

  get running() {
    return this.since !== null;
  }

  get seconds() {
    return this.before + (this.running ? (performance.now() - this.since) / 1000 : 0);
  }

  stop() {
    this.before = this.seconds;
    this.since = null;
  }

  resume() {
    this.since ??= performance.now();
  }
}
