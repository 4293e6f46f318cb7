"""Mainspring for Python: enqueue jobs and run them, with nothing but the standard library.

A worker registers at a server, claims attempts (waiting up to half a minute for the first), runs each
in a thread, and tells how it ended. One thread sends the sign of life that the worker's leases hang
on. What a handler raises says what follows::

    from mainspring import Client, Worker, Retry

    client = Client("http://127.0.0.1:8420", key="msk_...")
    worker = Worker(client, queues=["mail"], slots=8)

    @worker.job("send-mail")
    def send_mail(job):
        job.info("sending", to=job.payload["to"])
        if busy():
            raise Retry("the server is busy", after="30s")
        return {"sent": True}

    worker.run()        # until SIGTERM or SIGINT; then it drains

The protocol is in docs/guides/workers.md. Python 3.9 or later.
"""

import datetime
import http.client
import json
import os
import random
import signal
import socket
import ssl
import threading
import time
import traceback
import urllib.parse

__version__ = "0.1.0"
PROTOCOL = 1


class ApiError(Exception):
    """The server refused: its status, its code (MSnnnn has a page in docs/errors) and why."""

    def __init__(self, status, problem):
        self.status = status
        self.code = problem.get("code", "")
        self.detail = problem.get("detail", "")
        self.field = problem.get("field")
        self.retry_after = problem.get("retry_after")
        super().__init__(f"{status} {self.code}: {self.detail}")


class JobError(Exception):
    """What a handler raises to say what follows; any other exception is a Retry."""


class Retry(JobError):
    """Failed; another attempt may help, not before `after` ("30s") if given."""

    def __init__(self, message, after=None, error_class=None):
        super().__init__(message)
        self.after = after
        self.error_class = error_class


class Fatal(JobError):
    """Failed; another attempt cannot help."""

    def __init__(self, message, error_class=None):
        super().__init__(message)
        self.error_class = error_class


class Snooze(JobError):
    """Not now: call again after `after` ("10m"). Costs no attempt."""

    def __init__(self, after):
        super().__init__(f"again after {after}")
        self.after = after


class Skip(JobError):
    """There was nothing to do; the job is complete."""


class Cancel(JobError):
    """Ends the job as cancelled."""


class Partial(JobError):
    """Part of the work failed and is not to be tried again."""

    def __init__(self, output=None, failed=1):
        super().__init__(f"{failed} failed")
        self.output = output
        self.failed = failed


class _Call:
    """One request that another thread may abort."""

    def __init__(self):
        self._lock = threading.Lock()
        self._connection = None
        self.aborted = False

    def begin(self, connection):
        with self._lock:
            self._connection = connection
            if self.aborted:
                raise ConnectionError("aborted")

    def abort(self):
        with self._lock:
            self.aborted = True
            sock = getattr(self._connection, "sock", None)
            if sock is not None:
                try:
                    sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass


class Client:
    """Speaks to one project of a server with one API key. May be shared by threads."""

    def __init__(self, url, key, project="default", timeout=30.0):
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is not an address such as https://jobs.example.com")
        self._secure = parts.scheme == "https"
        self._host = parts.hostname
        self._port = parts.port
        self._base = parts.path.rstrip("/") + "/api/v1/projects/" + urllib.parse.quote(project, safe="")
        self._key = key
        self._timeout = timeout

    def enqueue(self, kind, payload=None, *, idempotency_key=None, **options):
        """Enqueues a job; durable once this returns. Options are those of the API: queue, priority,
        run_at, expires_at, timeout, max_attempts, retry, key, unique, batch. Gives id and duplicate."""
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        body = {"kind": kind, "payload": payload, **options}
        return self.call("POST", "/jobs", body, headers=headers)

    def show(self, job):
        """A job as it stands, with its attempts, progress and the reason why it stands there."""
        return self.call("GET", f"/jobs/{int(job)}")

    def cancel(self, job, reason=None):
        """Ends a job; True when it was waiting or running."""
        body = {} if reason is None else {"reason": reason}
        return self.call("POST", f"/jobs/{int(job)}/cancel", body)["changed"]

    def call(self, method, path, body=None, headers=None, timeout=None, handle=None):
        """Any call of the project's API: its JSON, or None. Raises ApiError or OSError."""
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        more = {"context": ssl.create_default_context()} if self._secure else {}
        connection = kind(self._host, self._port, timeout=timeout or self._timeout, **more)
        try:
            connection.connect()
            if handle is not None:
                handle.begin(connection)
            sent = {"Authorization": f"Bearer {self._key}", "Accept": "application/json", **(headers or {})}
            data = None
            if body is not None:
                data = json.dumps(body).encode()
                sent["Content-Type"] = "application/json"
            connection.request(method, self._base + path, body=data, headers=sent)
            response = connection.getresponse()
            text = response.read()
        except http.client.HTTPException as error:
            raise ConnectionError(f"the answer broke off: {error!r}") from error
        finally:
            connection.close()
        answer = None
        if text:
            try:
                answer = json.loads(text)
            except ValueError:
                answer = {"detail": text[:200].decode(errors="replace")}
        if response.status >= 400:
            raise ApiError(response.status, answer if isinstance(answer, dict) else {})
        return answer


def _passing(error):
    """Whether the same call may succeed in a moment."""
    if isinstance(error, ApiError):
        return error.status in (408, 429) or error.status >= 500
    return isinstance(error, OSError)


class Job:
    """One attempt, as its handler sees it."""

    def __init__(self, worker, claimed):
        self._worker = worker
        self.lease = claimed["lease"]
        self.id = claimed["job"]
        self.attempt = claimed["attempt"]
        self.max_attempts = claimed["max_attempts"]
        self.kind = claimed["kind"]
        self.queue = claimed["queue"]
        self.payload = claimed["payload"]
        #: The same for every attempt: give it to services that must not do a thing twice.
        self.delivery_id = claimed["delivery_id"]
        self.key = claimed.get("key")
        self.scheduled_for = claimed.get("scheduled_for")
        #: When its time is over, as ISO 8601.
        self.deadline = claimed["deadline"]
        #: Set when its end is wanted: a person's cancel, a lost lease, the end of a drain's grace.
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        self._lines = []
        self._seq = 0
        #: True when nothing that is said of it counts any more.
        self._over = False

    def log(self, level, message, **fields):
        """A line of the attempt's log, with structured fields. Written within a second."""
        at = datetime.datetime.now(datetime.timezone.utc).isoformat().replace("+00:00", "Z")
        line = {"level": level, "message": str(message), "at": at}
        if fields:
            line["fields"] = json.loads(json.dumps(fields, default=str))
        with self._lock:
            line["seq"] = self._seq
            self._seq += 1
            self._lines.append(line)

    def debug(self, message, **fields):
        self.log("debug", message, **fields)

    def info(self, message, **fields):
        self.log("info", message, **fields)

    def warn(self, message, **fields):
        self.log("warn", message, **fields)

    def error(self, message, **fields):
        self.log("error", message, **fields)

    def progress(self, done, total=None, note=None):
        """Tells how far it is; True when its end is wanted."""
        try:
            told = self._worker._say("progress", {"lease": self.lease, "done": done, "total": total, "note": note})
            if told["cancel"]:
                self.stopping.set()
        except ApiError as error:
            if error.status in (404, 409, 410):
                self.stopping.set()
        except OSError:
            pass
        return self.stopping.is_set()

    def _flush(self):
        with self._lock:
            lines, self._lines = self._lines[:500], self._lines[500:]
        if not lines or self._over:
            return
        try:
            self._worker._say("log", {"lease": self.lease, "lines": lines})
        except (ApiError, OSError) as error:
            if _passing(error):
                # The numbers keep a line from being written twice.
                with self._lock:
                    self._lines = lines + self._lines


class Worker:
    """Runs jobs until it is told to stop. Handlers run in threads, `slots` at a time."""

    def __init__(self, client, queues=(), slots=4, name=None, grace=30.0):
        self._client = client
        self._queues = list(queues)
        self._slots = slots
        self._name = name or f"{socket.gethostname()}-{os.getpid()}"
        self._grace = grace
        self._handlers = {}
        self._held = {}
        self._lock = threading.Lock()
        self._free = threading.Semaphore(slots)
        self._stop = threading.Event()
        self._done = threading.Event()
        self._path = None
        self._beat_every = 5.0
        self._claiming = None
        self._refused = None

    def job(self, kind):
        """Marks a function as the handler of a kind. What it returns is the job's output."""

        def mark(handler):
            self._handlers[kind] = handler
            return handler

        return mark

    def stop(self):
        """Takes nothing new, lets what runs end within the grace time, gives the rest back."""
        self._stop.set()
        claiming = self._claiming
        if claiming is not None:
            claiming.abort()

    def run(self):
        """Runs until `stop`, SIGTERM or SIGINT."""
        if not self._handlers:
            raise ValueError("a worker without a handler gets no job; mark one with @worker.job(kind)")
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: self.stop())
        self._register()
        threads = [threading.Thread(target=loop, daemon=True) for loop in (self._beat, self._write)]
        threads.append(threading.Thread(target=self._claim, daemon=True))
        for thread in threads:
            thread.start()
        # Short waits: a signal is only seen between two of them.
        while not self._stop.wait(0.2):
            pass
        self._drain()
        self._done.set()
        try:
            self._client.call("DELETE", self._path)
        except (ApiError, OSError):
            pass
        if self._refused is not None:
            raise self._refused

    # -- the three loops -------------------------------------------------------------------------

    def _claim(self):
        failures = 0
        while not self._stop.is_set():
            self._free.acquire()
            taken = 1
            while taken < min(self._slots, 100) and self._free.acquire(blocking=False):
                taken += 1
            claimed = []
            try:
                if not self._stop.is_set():
                    self._claiming = _Call()
                    body = {"limit": taken, "wait": 30}
                    path = self._path + "/claim"
                    claimed = self._client.call("POST", path, body, timeout=45, handle=self._claiming)["items"]
                failures = 0
            except (ApiError, OSError) as error:
                if isinstance(error, ApiError) and error.status == 410:
                    self._register_again()
                elif isinstance(error, ApiError) and not _passing(error):
                    self._refused = error
                    self._stop.set()
                elif not self._stop.is_set():
                    failures += 1
                    self._stop.wait(min(0.2 * 2**failures, 10) * (0.5 + random.random() / 2))
            finally:
                self._claiming = None
            for _ in range(taken - len(claimed)):
                self._free.release()
            for one in claimed:
                self._start(Job(self, one))

    def _beat(self):
        while not self._done.is_set():
            with self._lock:
                held = dict(self._held)
            try:
                told = self._say("heartbeat", {"holds": list(held)}, timeout=self._beat_every)
                for lease in told["cancel"] + told["lost"]:
                    if lease in held:
                        held[lease]._over |= lease in told["lost"]
                        held[lease].stopping.set()
            except ApiError as error:
                if error.status == 410:
                    self._register_again()
            except OSError:
                pass
            self._done.wait(self._beat_every)

    def _write(self):
        while not self._done.wait(0.5):
            with self._lock:
                held = list(self._held.values())
            for job in held:
                job._flush()

    # -- attempts --------------------------------------------------------------------------------

    def _start(self, job):
        with self._lock:
            self._held[job.lease] = job
        if self._stop.is_set():
            self._end(job, "finish", {"outcome": "interrupted", "reason": "the worker is shutting down"})
            return
        threading.Thread(target=self._run_one, args=(job,), daemon=True).start()

    def _run_one(self, job):
        try:
            handler = self._handlers.get(job.kind)
            if handler is None:
                raise Fatal(f"this worker has no handler for {job.kind}")
            said = "finish", {"outcome": "succeeded", "output": handler(job)}
        except Partial as error:
            said = "finish", {"outcome": "partial", "output": error.output, "failed": error.failed}
        except Snooze as error:
            said = "finish", {"outcome": "snoozed", "after": error.after}
        except Skip as error:
            said = "finish", {"outcome": "skipped", "reason": str(error)}
        except Cancel as error:
            said = "finish", {"outcome": "cancelled", "reason": str(error)}
        except BaseException as error:  # noqa: BLE001 - whatever a handler raises is its failure
            said = "fail", _failure(error)
        self._end(job, *said)

    def _end(self, job, what, body):
        """Says how an attempt ended, as long as that may count; saying it twice does no harm."""
        job._flush()
        failures = 0
        while not job._over:
            try:
                self._say(what, {"lease": job.lease, **body})
                break
            except (ApiError, OSError, TypeError, ValueError) as error:
                if isinstance(error, (TypeError, ValueError)):
                    what, body = "fail", _failure(Fatal(f"the output is not JSON: {error}", "bad_output"))
                    continue
                if not _passing(error):
                    if isinstance(error, ApiError) and error.status in (413, 422) and what != "fail":
                        what, body = "fail", _failure(Fatal(str(error), "bad_output"))
                        continue
                    break
                failures += 1
                time.sleep(min(0.1 * 2**failures, 5) * (0.5 + random.random() / 2))
        with self._lock:
            # Given back already, when a drain had no more patience.
            mine = self._held.pop(job.lease, None)
        if mine is not None:
            self._free.release()

    def _drain(self):
        until = time.monotonic() + self._grace
        while self._held and time.monotonic() < until:
            time.sleep(0.05)
        with self._lock:
            left = list(self._held.values())
        for job in left:
            job.stopping.set()
        until = time.monotonic() + 1
        while self._held and time.monotonic() < until:
            time.sleep(0.05)
        with self._lock:
            left = list(self._held.values())
        for job in left:
            self._end(job, "finish", {"outcome": "interrupted", "reason": "the worker is shutting down"})
            job._over = True

    # -- the server ------------------------------------------------------------------------------

    def _say(self, what, body, timeout=None):
        return self._client.call("POST", f"{self._path}/{what}", body, timeout=timeout)

    def _register(self):
        told = self._client.call(
            "POST",
            "/workers",
            {
                "protocol": PROTOCOL,
                "name": self._name,
                "client": f"python/{__version__}",
                "kinds": sorted(self._handlers),
                "queues": self._queues,
                "slots": self._slots,
            },
        )
        self._beat_every = told["heartbeat_ms"] / 1000
        self._path = "/workers/" + urllib.parse.quote(told["worker"], safe="")

    def _register_again(self):
        """It was silent for too long: what it holds is others' now, and their end will not count."""
        with self._lock:
            for job in self._held.values():
                job._over = True
                job.stopping.set()
        try:
            self._register()
        except (ApiError, OSError):
            self._stop.wait(1)


def _failure(error):
    """An exception as the server is told of it."""
    message = str(error) or type(error).__name__
    chain, cause = [], error.__cause__ or error.__context__
    while cause is not None and len(chain) < 16:
        chain.append(f"{type(cause).__name__}: {cause}")
        cause = cause.__cause__ or cause.__context__
    body = {"message": message, "chain": chain}
    if isinstance(error, (Retry, Fatal)):
        body["class"] = error.error_class
        body["after"] = getattr(error, "after", None)
        body["retry"] = isinstance(error, Retry)
    else:
        body["class"] = type(error).__name__
        where = traceback.extract_tb(error.__traceback__)
        if where:
            body["chain"].append(f"at {where[-1].filename}:{where[-1].lineno}")
    return body
