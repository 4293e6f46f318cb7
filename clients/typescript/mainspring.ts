/**
 * Mainspring for TypeScript: enqueue jobs and run them, with nothing but what Node brings.
 *
 * A worker registers at a server, claims attempts (waiting up to half a minute for the first), runs
 * them at once up to its slots, and tells how each ended. What a handler throws says what follows:
 *
 *     const client = new Client("http://127.0.0.1:8420", { key: "msk_..." });
 *     const worker = new Worker(client, { queues: ["mail"], slots: 8 });
 *     worker.job("send-mail", async (job) => {
 *       job.info("sending", { to: job.payload.to });
 *       if (await busy()) throw new Retry("the server is busy", { after: "30s" });
 *       return { sent: true };
 *     });
 *     await worker.run(); // until SIGTERM or SIGINT; then it drains
 *
 * The protocol is in docs/guides/workers.md. Node 20 or later.
 */

import { hostname } from "node:os";

export const VERSION = "0.1.0";
const PROTOCOL = 1;

/** The server refused: its status, its code (MSnnnn has a page in docs/errors) and why. */
export class ApiError extends Error {
  readonly status: number;
  readonly code: string;
  readonly field: string | undefined;

  constructor(status: number, problem: { code?: string; detail?: string; field?: string }) {
    super(`${status} ${problem.code ?? ""}: ${problem.detail ?? ""}`);
    this.name = "ApiError";
    this.status = status;
    this.code = problem.code ?? "";
    this.field = problem.field;
  }
}

/** What a handler throws to say what follows; any other error is a Retry. */
export class JobError extends Error {}

/** Failed; another attempt may help, not before `after` ("30s") if given. */
export class Retry extends JobError {
  readonly after: string | undefined;
  readonly errorClass: string | undefined;

  constructor(message: string, options: { after?: string; errorClass?: string; cause?: unknown } = {}) {
    super(message, { cause: options.cause });
    this.after = options.after;
    this.errorClass = options.errorClass;
  }
}

/** Failed; another attempt cannot help. */
export class Fatal extends JobError {
  readonly errorClass: string | undefined;

  constructor(message: string, options: { errorClass?: string; cause?: unknown } = {}) {
    super(message, { cause: options.cause });
    this.errorClass = options.errorClass;
  }
}

/** Not now: call again after `after` ("10m"). Costs no attempt. */
export class Snooze extends JobError {
  readonly after: string;

  constructor(after: string) {
    super(`again after ${after}`);
    this.after = after;
  }
}

/** There was nothing to do; the job is complete. */
export class Skip extends JobError {}

/** Ends the job as cancelled. */
export class Cancel extends JobError {}

/** Part of the work failed and is not to be tried again. */
export class Partial extends JobError {
  readonly output: unknown;
  readonly failed: number;

  constructor(output: unknown, failed: number) {
    super(`${failed} failed`);
    this.output = output;
    this.failed = failed;
  }
}

/** What may be said of a job beside its kind and payload: the fields of the API. */
export interface EnqueueOptions {
  idempotencyKey?: string;
  queue?: string;
  priority?: number;
  run_at?: string;
  expires_at?: string;
  timeout?: string;
  max_attempts?: number;
  key?: string;
  unique?: { key: string; for?: string };
  batch?: number;
}

/** What a job looks like: the fields that most look at. */
export interface JobView {
  id: number;
  kind: string;
  queue: string;
  state: "scheduled" | "available" | "running" | "completed" | "cancelled" | "failed";
  attempt: number;
  output?: unknown;
  [more: string]: unknown;
}

/** Speaks to one project of a server with one API key. */
export class Client {
  readonly #base: string;
  readonly #key: string;

  constructor(url: string, options: { key: string; project?: string }) {
    const project = encodeURIComponent(options.project ?? "default");
    this.#base = `${new URL(url).href.replace(/\/+$/, "")}/api/v1/projects/${project}`;
    this.#key = options.key;
  }

  /** Enqueues a job; durable once this resolves. */
  async enqueue(kind: string, payload: unknown = null, options: EnqueueOptions = {}): Promise<{ id: number; duplicate: boolean }> {
    const { idempotencyKey, ...fields } = options;
    const headers: Record<string, string> = idempotencyKey === undefined ? {} : { "Idempotency-Key": idempotencyKey };
    return (await this.call("POST", "/jobs", { kind, payload, ...fields }, { headers })) as { id: number; duplicate: boolean };
  }

  /** A job as it stands. */
  async show(job: number): Promise<JobView> {
    return (await this.call("GET", `/jobs/${job}`)) as JobView;
  }

  /** Ends a job; true when it was waiting or running. */
  async cancel(job: number, reason?: string): Promise<boolean> {
    const body = reason === undefined ? {} : { reason };
    return ((await this.call("POST", `/jobs/${job}/cancel`, body)) as { changed: boolean }).changed;
  }

  /** Any call of the project's API: its JSON, or null. Rejects with ApiError, or as fetch does. */
  async call(
    method: string,
    path: string,
    body?: unknown,
    options: { headers?: Record<string, string>; timeoutMs?: number; signal?: AbortSignal } = {},
  ): Promise<unknown> {
    const limit = AbortSignal.timeout(options.timeoutMs ?? 30_000);
    const response = await fetch(this.#base + path, {
      method,
      headers: {
        Authorization: `Bearer ${this.#key}`,
        Accept: "application/json",
        ...(body === undefined ? {} : { "Content-Type": "application/json" }),
        ...options.headers,
      },
      body: body === undefined ? null : JSON.stringify(body),
      signal: options.signal === undefined ? limit : AbortSignal.any([limit, options.signal]),
    });
    const text = await response.text();
    let answer: unknown = null;
    if (text !== "") {
      try {
        answer = JSON.parse(text);
      } catch {
        answer = { detail: text.slice(0, 200) };
      }
    }
    if (!response.ok) throw new ApiError(response.status, (answer ?? {}) as object);
    return answer;
  }
}

/** Whether the same call may succeed in a moment. */
function passing(error: unknown): boolean {
  return error instanceof ApiError ? error.status === 408 || error.status === 429 || error.status >= 500 : true;
}

function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const ended = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", ended);
      resolve();
    };
    const timer = setTimeout(ended, ms);
    signal?.addEventListener("abort", ended);
  });
}

interface Claimed {
  lease: string;
  job: number;
  attempt: number;
  max_attempts: number;
  kind: string;
  queue: string;
  payload: any;
  delivery_id: string;
  key: string | null;
  scheduled_for: string | null;
  deadline: string;
}

interface Line {
  seq: number;
  at: string;
  level: string;
  message: string;
  fields?: Record<string, unknown>;
}

type Say = (what: string, body: object, timeoutMs?: number) => Promise<any>;

/** One attempt, as its handler sees it. */
export class Job {
  readonly lease: string;
  readonly id: number;
  readonly attempt: number;
  readonly maxAttempts: number;
  readonly kind: string;
  readonly queue: string;
  readonly payload: any;
  /** The same for every attempt: give it to services that must not do a thing twice. */
  readonly deliveryId: string;
  readonly key: string | null;
  readonly scheduledFor: string | null;
  /** When its time is over. */
  readonly deadline: Date;
  /** Aborted when its end is wanted: a person's cancel, a lost lease, the end of a drain's grace. */
  readonly signal: AbortSignal;
  /** @internal Nothing that is said of it counts any more. */
  over = false;
  readonly #stopping = new AbortController();
  readonly #say: Say;
  #lines: Line[] = [];
  #seq = 0;

  /** @internal */
  constructor(claimed: Claimed, say: Say) {
    this.lease = claimed.lease;
    this.id = claimed.job;
    this.attempt = claimed.attempt;
    this.maxAttempts = claimed.max_attempts;
    this.kind = claimed.kind;
    this.queue = claimed.queue;
    this.payload = claimed.payload;
    this.deliveryId = claimed.delivery_id;
    this.key = claimed.key;
    this.scheduledFor = claimed.scheduled_for;
    this.deadline = new Date(claimed.deadline);
    this.signal = this.#stopping.signal;
    this.#say = say;
  }

  /** A line of the attempt's log, with structured fields. Written within a second. */
  log(level: "debug" | "info" | "warn" | "error", message: string, fields?: Record<string, unknown>): void {
    const line: Line = { seq: this.#seq++, at: new Date().toISOString(), level, message };
    if (fields !== undefined) line.fields = JSON.parse(JSON.stringify(fields));
    this.#lines.push(line);
  }

  debug(message: string, fields?: Record<string, unknown>): void {
    this.log("debug", message, fields);
  }

  info(message: string, fields?: Record<string, unknown>): void {
    this.log("info", message, fields);
  }

  warn(message: string, fields?: Record<string, unknown>): void {
    this.log("warn", message, fields);
  }

  error(message: string, fields?: Record<string, unknown>): void {
    this.log("error", message, fields);
  }

  /** Tells how far it is; true when its end is wanted. */
  async progress(done: number, total?: number, note?: string): Promise<boolean> {
    try {
      const body = { lease: this.lease, done, total: total ?? null, note: note ?? null };
      const told = await this.#say("progress", body);
      if (told.cancel) this.stop();
    } catch (error) {
      if (!passing(error)) this.stop();
    }
    return this.signal.aborted;
  }

  /** @internal */
  stop(): void {
    this.#stopping.abort();
  }

  /** @internal */
  async flush(): Promise<void> {
    const lines = this.#lines.splice(0, 500);
    if (lines.length === 0 || this.over) return;
    try {
      await this.#say("log", { lease: this.lease, lines });
    } catch (error) {
      // The numbers keep a line from being written twice.
      if (passing(error)) this.#lines.unshift(...lines);
    }
  }
}

/** What runs the jobs of a kind; what it gives is the job's output. */
export type Handler = (job: Job) => unknown;

/** Runs jobs until it is told to stop, `slots` at a time. */
export class Worker {
  readonly #client: Client;
  readonly #queues: string[];
  readonly #slots: number;
  readonly #name: string;
  readonly #graceMs: number;
  readonly #handlers = new Map<string, Handler>();
  readonly #held = new Map<string, Job>();
  readonly #stopped = new AbortController();
  readonly #done = new AbortController();
  #freed: () => void = () => {};
  #path = "";
  #beatMs = 5_000;

  constructor(client: Client, options: { queues?: string[]; slots?: number; name?: string; graceMs?: number } = {}) {
    this.#client = client;
    this.#queues = options.queues ?? [];
    this.#slots = options.slots ?? 4;
    this.#name = options.name ?? `${hostname()}-${process.pid}`;
    this.#graceMs = options.graceMs ?? 30_000;
  }

  /** Names the handler of a kind. */
  job(kind: string, handler: Handler): this {
    this.#handlers.set(kind, handler);
    return this;
  }

  /** Takes nothing new, lets what runs end within the grace time, gives the rest back. */
  stop(): void {
    this.#stopped.abort();
  }

  /**
   * Runs until `stop`, SIGTERM or SIGINT. A handler that goes on although it was given back keeps the
   * process alive after this: whoever wants it gone calls `process.exit`.
   */
  async run(): Promise<void> {
    if (this.#handlers.size === 0) throw new Error("a worker without a handler gets no job; name one with worker.job(kind, …)");
    const stop = () => this.stop();
    process.on("SIGTERM", stop).on("SIGINT", stop);
    try {
      await this.#register();
      const rest = [this.#beat(), this.#write()];
      await this.#claim();
      await this.#drain();
      this.#done.abort();
      await Promise.allSettled(rest);
      await this.#client.call("DELETE", this.#path).catch(() => undefined);
    } finally {
      this.#stopped.abort();
      this.#done.abort();
      process.off("SIGTERM", stop).off("SIGINT", stop);
    }
  }

  async #claim(): Promise<void> {
    let failures = 0;
    while (!this.#stopped.signal.aborted) {
      const free = this.#slots - this.#held.size;
      if (free <= 0) {
        const freed = new Promise<void>((resolve) => (this.#freed = resolve));
        if (this.#slots - this.#held.size <= 0) await Promise.race([freed, pause(60_000, this.#stopped.signal)]);
        continue;
      }
      try {
        const body = { limit: Math.min(free, 100), wait: 30 };
        const options = { timeoutMs: 45_000, signal: this.#stopped.signal };
        const got = (await this.#client.call("POST", `${this.#path}/claim`, body, options)) as { items: Claimed[] };
        failures = 0;
        for (const claimed of got.items) this.#start(claimed);
      } catch (error) {
        if (this.#stopped.signal.aborted) return;
        if (error instanceof ApiError && error.status === 410) await this.#registerAgain();
        else if (error instanceof ApiError && !passing(error)) throw error;
        else await pause(Math.min(200 * 2 ** ++failures, 10_000) * (0.5 + Math.random() / 2), this.#stopped.signal);
      }
    }
  }

  async #beat(): Promise<void> {
    while (!this.#done.signal.aborted) {
      const held = new Map(this.#held);
      try {
        const told = await this.#say("heartbeat", { holds: [...held.keys()] }, this.#beatMs);
        for (const lease of told.lost as string[]) {
          const job = held.get(lease);
          if (job !== undefined) job.over = true;
        }
        for (const lease of [...told.cancel, ...told.lost] as string[]) held.get(lease)?.stop();
      } catch (error) {
        if (error instanceof ApiError && error.status === 410) await this.#registerAgain();
      }
      await pause(this.#beatMs, this.#done.signal);
    }
  }

  async #write(): Promise<void> {
    while (!this.#done.signal.aborted) {
      await pause(500, this.#done.signal);
      await Promise.all([...this.#held.values()].map((job) => job.flush()));
    }
  }

  #start(claimed: Claimed): void {
    const job = new Job(claimed, this.#say);
    this.#held.set(job.lease, job);
    void this.#runOne(job);
  }

  async #runOne(job: Job): Promise<void> {
    let what = "finish";
    let body: object;
    try {
      const handler = this.#handlers.get(job.kind);
      if (handler === undefined) throw new Fatal(`this worker has no handler for ${job.kind}`);
      body = { outcome: "succeeded", output: (await handler(job)) ?? null };
    } catch (error) {
      if (error instanceof Partial) body = { outcome: "partial", output: error.output ?? null, failed: error.failed };
      else if (error instanceof Snooze) body = { outcome: "snoozed", after: error.after };
      else if (error instanceof Skip) body = { outcome: "skipped", reason: error.message };
      else if (error instanceof Cancel) body = { outcome: "cancelled", reason: error.message };
      else [what, body] = ["fail", failure(error)];
    }
    await this.#end(job, what, body);
  }

  /** Says how an attempt ended, as long as that may count; saying it twice does no harm. */
  async #end(job: Job, what: string, body: object): Promise<void> {
    await job.flush();
    for (let failures = 1; !job.over; failures++) {
      try {
        await this.#say(what, { lease: job.lease, ...body });
        break;
      } catch (error) {
        // JSON cannot hold it, or the server cannot keep it.
        const unfit = error instanceof TypeError && !("cause" in error && error.cause !== undefined);
        if (what !== "fail" && (unfit || (error instanceof ApiError && [413, 422].includes(error.status)))) {
          [what, body] = ["fail", failure(new Fatal(`the output cannot be sent: ${String(error)}`, { errorClass: "bad_output" }))];
          continue;
        }
        if (!passing(error)) break;
        await pause(Math.min(100 * 2 ** failures, 5_000) * (0.5 + Math.random() / 2));
      }
    }
    this.#held.delete(job.lease);
    this.#freed();
  }

  async #drain(): Promise<void> {
    const empty = async (ms: number) => {
      const until = Date.now() + ms;
      while (this.#held.size > 0 && Date.now() < until) await pause(25);
    };
    await empty(this.#graceMs);
    for (const job of this.#held.values()) job.stop();
    await empty(1_000);
    const reason = "the worker is shutting down";
    const rest = [...this.#held.values()];
    await Promise.all(rest.map((job) => this.#end(job, "finish", { outcome: "interrupted", reason })));
    for (const job of rest) job.over = true;
  }

  readonly #say: Say = (what, body, timeoutMs) =>
    this.#client.call("POST", `${this.#path}/${what}`, body, timeoutMs === undefined ? {} : { timeoutMs });

  async #register(): Promise<void> {
    const told = (await this.#client.call("POST", "/workers", {
      protocol: PROTOCOL,
      name: this.#name,
      client: `typescript/${VERSION}`,
      kinds: [...this.#handlers.keys()].sort(),
      queues: this.#queues,
      slots: this.#slots,
    })) as { worker: string; heartbeat_ms: number };
    this.#beatMs = told.heartbeat_ms;
    this.#path = `/workers/${encodeURIComponent(told.worker)}`;
  }

  /** It was silent for too long: what it holds is others' now, and their end will not count. */
  async #registerAgain(): Promise<void> {
    for (const job of this.#held.values()) {
      job.over = true;
      job.stop();
    }
    await this.#register().catch(() => pause(1_000, this.#stopped.signal));
  }
}

/** An error as the server is told of it. */
function failure(error: unknown): object {
  const chain: string[] = [];
  let cause = error instanceof Error ? error.cause : undefined;
  while (cause !== undefined && cause !== null && chain.length < 16) {
    chain.push(String(cause));
    cause = cause instanceof Error ? cause.cause : undefined;
  }
  const message = error instanceof Error ? error.message || error.name : String(error);
  if (error instanceof Retry) return { message, chain, class: error.errorClass ?? null, after: error.after ?? null, retry: true };
  if (error instanceof Fatal) return { message, chain, class: error.errorClass ?? null, retry: false };
  const where = error instanceof Error ? error.stack?.split("\n").find((line) => line.trimStart().startsWith("at ")) : undefined;
  if (where !== undefined) chain.push(where.trim());
  return { message, chain, class: error instanceof Error ? error.name : "thrown", retry: true };
}
