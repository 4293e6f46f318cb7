/** A worker for crates/cli/tests/clients.rs: what its handlers do is said by the jobs. */

import { existsSync } from "node:fs";
import { ApiError, Client, Fatal, Partial, Retry, Skip, Snooze, Worker } from "../mainspring.js";

const client = new Client(process.env.URL ?? "", { key: process.env.KEY ?? "" });
const [verb, what] = process.argv.slice(2);
const nap = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

if (verb === "enqueue") {
  const made = await client.enqueue(what ?? "", { by: "typescript" }, { idempotencyKey: "once", queue: "calls" });
  console.log(made.id);
} else if (verb === "show") {
  console.log((await client.show(Number(what))).state);
} else if (verb === "cancel") {
  console.log(await client.cancel(Number(what), "not needed"));
} else if (verb === "refused") {
  const error = await client.show(999999).catch((error: unknown) => error);
  if (error instanceof ApiError) console.log(error.status, error.code);
} else {
  const worker = new Worker(client, { slots: 4, name: "typescript worker", graceMs: 1000 * Number(process.env.GRACE ?? "10") });
  worker
    .job("work", async (job) => {
      job.info("working", { n: job.payload.n });
      await nap(30);
      return { n: job.payload.n, delivery: job.deliveryId };
    })
    .job("gate", async (job) => {
      job.info("waiting");
      await job.progress(1, 2, "waiting");
      while (!existsSync(job.payload.file)) {
        await nap(50);
        if (job.signal.aborted && job.payload.heeds) throw new Retry("stopped");
      }
      return { by: process.pid };
    })
    .job("say", (job) => {
      switch (job.payload) {
        case "fatal":
          throw new Fatal("no such customer", { errorClass: "not_found" });
        case "retry":
          throw new Retry("busy", { after: "1h" });
        case "snooze":
          throw new Snooze("1h");
        case "skip":
          throw new Skip("no rows");
        case "partial":
          throw new Partial({ ok: 2 }, 3);
        case "output":
          return 1n;
        default:
          throw new RangeError("what");
      }
    });
  console.log("ready");
  await worker.run();
  console.log("drained");
  // A handler that does not heed its signal would keep the process.
  process.exit(0);
}
