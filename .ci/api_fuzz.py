"""Starts the program on an empty store, makes the first account, runs the schema fuzzer against it,
and looks whether the program still stands and its figures still agree. See .ci/api-fuzz."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.parse

PROGRAM, FUZZER, FORM = (os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2]), sys.argv[3])
# Examples of a call; all calls together make the 2,000 and more of the long form.
FORMS = {
    "short": ["--phases", "examples,coverage,fuzzing", "--max-examples", "4", "--max-time", "30"],
    "long": ["--phases", "examples,coverage,fuzzing,stateful", "--max-examples", "150"],
}
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_headers_conformance,response_schema_conformance"
)


def start(folder):
    """The program, and the address of its first page."""
    command = [PROGRAM, "up", "--no-tour", "--listen", "127.0.0.1:0"]
    log = open(os.path.join(folder, "log"), "w+")
    child = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    for _ in range(600):
        found = re.search(r"http://([0-9.:]+)/setup/(\S+)", open(log.name).read())
        if found:
            return child, found.group(1), found.group(2), log.name
        if child.poll() is not None:
            break
        time.sleep(0.1)
    child.kill()
    sys.exit("api-fuzz: the program did not start:\n" + open(log.name).read())


def first_account(address, token):
    """The session of the first account, who may do everything."""
    host, port = address.rsplit(":", 1)
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
    form = {"email": "fuzz@example.com", "name": "Fuzz", "password": "a long enough password"}
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    connection.request("POST", "/setup/" + token, urllib.parse.urlencode(form), headers)
    answer = connection.getresponse()
    cookie = (answer.getheader("Set-Cookie") or "").split(";")[0]
    if answer.status != 303 or not cookie:
        sys.exit("api-fuzz: no account: %s %s" % (answer.status, answer.read()))
    return cookie


def fuzz(address, cookie, folder):
    report = os.path.join(folder, "report.json")
    command = [FUZZER, "run", "http://%s/api/v1/openapi.json" % address, "--header", "Cookie: " + cookie]
    command += ["--checks", CHECKS, "--request-timeout", "30", "--no-color", "--warnings", "off"]
    # A stream never ends: it has a test of its own.
    command += ["--exclude-operation-id", "follow_events", "--generation-allow-x00", "true"]
    command += ["--generation-database", "none", "--continue-on-failure", "--report-json-path", report]
    command += ["--report", "json"] + FORMS[FORM]
    if os.environ.get("SEED"):
        command += ["--seed", os.environ["SEED"]]
    ended = subprocess.run(command, cwd=folder).returncode
    return ended


def main():
    with tempfile.TemporaryDirectory() as folder:
        child, address, token, log = start(folder)
        try:
            ended = fuzz(address, first_account(address, token), folder)
            if child.poll() is not None:
                sys.exit("api-fuzz: the program ended by itself:\n" + open(log).read()[-4000:])
            child.send_signal(signal.SIGTERM)
            child.wait(timeout=60)
            looked = subprocess.run(
                [PROGRAM, "doctor", "--deep", "--json"], cwd=folder, capture_output=True, text=True
            )
            audit = [fact for fact in json.loads(looked.stdout) if fact["name"] == "audit"]
            if not audit or audit[0]["problem"]:
                sys.exit("api-fuzz: the figures do not agree afterwards: %s" % audit)
            sys.exit(ended)
        finally:
            if child.poll() is None:
                child.kill()


main()
