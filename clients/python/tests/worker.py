"""A worker for crates/cli/tests/clients.rs: what its handlers do is said by the jobs."""

import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from mainspring import ApiError, Client, Fatal, Partial, Retry, Skip, Snooze, Worker  # noqa: E402

client = Client(os.environ["URL"], os.environ["KEY"])

if len(sys.argv) > 1:
    # enqueue KIND, show JOB, cancel JOB, refused
    verb, what = sys.argv[1:3]
    if verb == "enqueue":
        print(client.enqueue(what, {"by": "python"}, idempotency_key="once", queue="calls")["id"])
    elif verb == "show":
        print(client.show(what)["state"])
    elif verb == "cancel":
        print(client.cancel(what, "not needed"))
    else:
        try:
            client.show(999999)
        except ApiError as error:
            print(error.status, error.code)
    sys.exit(0)

worker = Worker(client, slots=4, name="python worker", grace=float(os.environ.get("GRACE", "10")))


@worker.job("work")
def work(job):
    job.info("working", n=job.payload["n"])
    time.sleep(0.03)
    return {"n": job.payload["n"], "delivery": job.delivery_id}


@worker.job("gate")
def gate(job):
    """Goes on when the file is there."""
    job.info("waiting")
    job.progress(1, 2, "waiting")
    while not os.path.exists(job.payload["file"]):
        if job.stopping.wait(0.05) and job.payload.get("heeds"):
            raise Retry("stopped")
    return {"by": os.getpid()}


@worker.job("say")
def say(job):
    if job.payload == "fatal":
        raise Fatal("no such customer", "not_found")
    if job.payload == "retry":
        raise Retry("busy", after="1h")
    if job.payload == "snooze":
        raise Snooze("1h")
    if job.payload == "skip":
        raise Skip("no rows")
    if job.payload == "partial":
        raise Partial({"ok": 2}, 3)
    if job.payload == "output":
        return {1, 2}
    raise KeyError("what")


print("ready", flush=True)
worker.run()
print("drained", flush=True)
