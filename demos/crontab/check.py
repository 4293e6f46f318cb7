"""Looks at what a run left, from outside: through the program's JSON and the server's own log.

    python3 check.py MAINSPRING SERVERLOG NODESTARTS KILLED

The store is the one in MAINSPRING_STORE. For every schedule the nominal fires between its making and
its next fire are computed (`mainspring cron next`; intervals by arithmetic) and held against the jobs
that were made for them and the ledger of fires that made none: each must have exactly one. Then jobs,
deliveries and the store's own recount. The first thing that is wrong ends it with exit code 1.
"""

import collections
import datetime
import json
import re
import subprocess
import sys

PROGRAM, SERVERLOG, STARTS, KILLED = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
UTC = datetime.timezone.utc


def ask(*words):
    done = subprocess.run([PROGRAM, *words, "--json"], stdout=subprocess.PIPE)
    if done.returncode != 0:
        wrong(f"mainspring {' '.join(words)} ended with {done.returncode}")
    if words[0] == "events":  # One document to a line.
        return [json.loads(line) for line in done.stdout.splitlines()]
    return json.loads(done.stdout)


def wrong(text):
    print(f"WRONG: {text}")
    sys.exit(1)


def instant(text):
    """Microseconds since 1970, from `2026-11-22T17:21:25.682966Z`."""
    whole, _, part = text.rstrip("Z").partition(".")
    seconds = datetime.datetime.fromisoformat(whole).replace(tzinfo=UTC).timestamp()
    return int(seconds) * 1_000_000 + int((part + "000000")[:6])


def show(at):
    return datetime.datetime.fromtimestamp(at / 1e6, UTC).strftime("%H:%M:%S")


def nominal(schedule):
    """Every fire after the schedule's making and before its next one; None where time alone tells
    none (@reboot)."""
    trigger, begin = schedule["spec"]["trigger"], schedule["created_at"]
    if trigger["type"] == "reboot":
        return None
    if schedule["next_fire"] is None:
        wrong(f"{schedule['name']} has no next fire")
    end = instant(schedule["next_fire"])
    if trigger["type"] == "cron":
        answer = ask("cron", "next", trigger["expr"], "--tz", schedule["zone"], "--from", begin, "-n", "10000")
        fires = [instant(fire["at"]) for fire in answer["fires"]]
        if end not in fires:
            wrong(f"{schedule['name']}: its next fire {show(end)} is none of its rule's")
        return {at for at in fires if at < end}
    every = re.fullmatch(r"(\d+)s", trigger.get("interval", ""))
    if trigger["type"] != "every" or every is None or 60 % int(every[1]) != 0:
        wrong(f"{schedule['name']}: this check does not know its rule {trigger}")
    step = int(every[1]) * 1_000_000
    first = instant(begin) // step * step + step
    return set(range(first, end, step))


def outcomes(schedule, jobs):
    """How each fire ended: its job, or the row of the ledger that holds it."""
    found = collections.defaultdict(list)
    for job in jobs:
        if job["schedule"] == schedule["id"] and job["origin"] == "fire":
            found[instant(job["scheduled_for"])].append(f"job {job['id']}")
    return found


def fires(schedules, jobs):
    """Invariant: every nominal fire has exactly one outcome."""
    rows = []
    for schedule in schedules:
        name, rule = schedule["name"], nominal(schedule)
        found = outcomes(schedule, jobs)
        made, without, reasons = len(found), 0, set()
        if rule is None:
            if not 1 <= made <= STARTS or any(len(all) > 1 for all in found.values()):
                wrong(f"{name}: {made} runs for {STARTS} starts of nodes")
            rows.append((name, "-", made, 0, "once for each start of a node, at most"))
            continue
        for row in ask("schedule", "show", name)["without_job"]:
            first, last = instant(row["first"]), instant(row["last"])
            inside = [at for at in rule if first <= at <= last]
            if len(inside) != row["count"] or not row["reason"]:
                wrong(f"{name}: a row of the ledger tells of {row['count']} fires, of which {len(inside)} are: {row}")
            for at in inside:
                found[at].append(row["outcome"])
            without += row["count"]
            reasons.add(f"{row['outcome']}: {row['reason']}")
        lost = sorted(at for at in rule if at not in found)
        doubled = sorted(at for at, all in found.items() if len(all) > 1)
        strange = sorted(at for at in found if at not in rule)
        for what, which in [("lost", lost), ("doubled", doubled), ("of no rule", strange)]:
            if which:
                at = which[0]
                wrong(f"{name}: {len(which)} fires {what}, the first at {show(at)}: {found.get(at, [])}")
        rows.append((name, len(rule), made, without, "; ".join(sorted(reasons))))
    return rows


def ends(jobs):
    """Every job is final, and what failed says why."""
    why = collections.Counter()
    for job in jobs:
        if job["state"] not in ("completed", "failed", "cancelled"):
            wrong(f"job {job['id']} is {job['state']} after all came to rest")
        if job["state"] != "completed":
            text = (job["error"] or {}).get("message") or job["reason"]
            if not text:
                wrong(f"job {job['id']} is {job['state']} and does not say why")
            why[re.sub(r"\d{3,}", "N", text)] += 1
    return why


def deliveries(jobs):
    """Every delivery is a job's; every call that completed was delivered; and nothing was delivered
    in full twice, unless the node that delivered it was killed before it could say so."""
    calls = {f"msg_{job['id']}": job for job in jobs
             if job["kind"] == "http" or "webhook-id" in json.dumps(job["payload"])}
    done = collections.Counter()
    total = 0
    for line in open(SERVERLOG):
        one = json.loads(line)
        total += 1
        if one["id"] not in calls:
            wrong(f"the server was called for {one['id']}, and no job is that")
        if one["status"] == 401:
            wrong(f"the signature of {one['id']} was wrong")
        done[one["id"]] += one["status"] == 200 and one["sent"]
    again = 0
    for id, job in calls.items():
        if job["state"] == "completed" and done[id] == 0:
            wrong(f"job {job['id']} is completed, and the server never answered it")
        if done[id] > 1:
            attempts = ask("job", "show", str(job["id"]))["attempts"]
            if not any(attempt["outcome"] == "interrupted" for attempt in attempts):
                wrong(f"{id} was delivered {done[id]} times, and its job {job['id']} was never interrupted")
            again += 1
    return total, sum(1 for n in done.values() if n), again


def losses():
    """Killed nodes are told of, and what they held ran elsewhere."""
    events = ask("events", "-n", "100000")
    lost = [event for event in events if event["name"] == "node.lost"]
    rescued = {event["subject"] for event in events if event["name"] == "job.interrupted"}
    if len(lost) != KILLED:
        wrong(f"{KILLED} nodes were killed, {len(lost)} are told to be lost")
    if KILLED and not rescued:
        wrong("the killed node held nothing: that shows little")
    return len(rescued)


def main():
    schedules = ask("schedule", "list")
    jobs = ask("job", "list", "-n", "100000")
    rows = fires(schedules, jobs)
    why = ends(jobs)
    total, delivered, again = deliveries(jobs)
    rescued = losses()
    # It has something to say in any case: no node runs any more.
    doctor = subprocess.run([PROGRAM, "doctor", "--deep"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if "0 differences found" not in doctor.stdout:
        wrong(f"the store's recount differs from its counters:\n{doctor.stdout}")
    width = max(len(row[0]) for row in rows)
    print(f"{'schedule':<{width}}  fires  jobs  without  why without")
    for name, all, made, without, reasons in rows:
        print(f"{name:<{width}}  {all:>5}  {made:>4}  {without:>7}  {reasons}")
    timed = [row for row in rows if row[1] != "-"]
    all, made, without = (sum(row[at] for row in timed) for at in (1, 2, 3))
    print(f"{'together, by time':<{width}}  {all:>5}  {made:>4}  {without:>7}")
    print("lost 0, doubled 0: every fire has one job or one reason")
    states = collections.Counter(job["state"] for job in jobs)
    print("jobs: " + ", ".join(f"{n} {state}" for state, n in sorted(states.items())))
    for text, n in why.most_common():
        print(f"  {n} x {text.splitlines()[0][:100]}")
    print(f"deliveries: {total} requests, {delivered} ids completed; "
          f"{again} completed again because a node was killed before it could say so")
    print(f"nodes killed: {KILLED}; attempts taken over from them: {rescued}; recount: no differences")


main()
