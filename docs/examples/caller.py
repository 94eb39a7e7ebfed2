"""Pairs and unpairs stations. Needs Python 3.8 or later and no packages:

    export SCSP_URL=https://… SCSP_TOKEN=scsp_cpo_…
    python3 caller.py pair 012345 KIT-1; python3 caller.py unpair KIT-1
"""
import json, os, sys, time, uuid
from http.client import HTTPException
from urllib import error, parse, request

DEADLINE_S = 15  # answers take up to 10 s; whoever waits for less loses some
ATTEMPTS = 4
LONGEST_PAUSE_S = 10  # the customer waits: after a longer Retry-After they are asked to come back


class NoRedirect(request.HTTPRedirectHandler):
    def redirect_request(self, *args):
        return None


opener = request.build_opener(NoRedirect)


def post(path, headers={}, body=None):
    """Sends a request until there is a final answer. Each attempt has the same headers, the Idempotency-Key included."""
    headers = {"Authorization": f"Bearer {os.environ['SCSP_TOKEN']}", **headers}
    may_be_repetition = False
    for attempt in range(1, ATTEMPTS + 1):
        try:
            try:
                sent = request.Request(os.environ["SCSP_URL"] + path, body or b"", headers, method="POST")
                response = opener.open(sent, timeout=DEADLINE_S)
            except error.HTTPError as answer:
                response = answer
            with response:
                status, headers_in, text = response.status, response.headers, response.read()
            is_json = headers_in.get_content_type().endswith("json")
            problem = json.loads(text).get("type", "") if is_json else ""
            retry_after = headers_in["Retry-After"]
            is_final = retry_after is None and status < 500
            pause = attempt if retry_after is None else int(retry_after)
            if is_final or pause > LONGEST_PAUSE_S or attempt == ATTEMPTS:
                return status, problem, may_be_repetition
            may_be_repetition = may_be_repetition or status >= 500
        except (OSError, HTTPException):
            may_be_repetition, pause = True, attempt  # no answer: the request may have succeeded all the same
            if attempt == ATTEMPTS:
                raise
        time.sleep(pause)


def pair(code, station, protocol="ocpp2.0.1"):
    """Pairs a station with the code that the customer typed. Any other 404 says that the address is wrong."""
    headers = {"Content-Type": "application/json", "Idempotency-Key": f'"{uuid.uuid4()}"'}
    body = json.dumps({"code": code, "charging_station": station}).encode()
    status, problem, may_be_repetition = post(f"/v1/scsp/{protocol}/pair", headers, body)
    if status == 200:
        return "paired"
    if problem == "/problems/station-already-paired":
        return "paired" if may_be_repetition else "the station is paired already"
    if problem == "/problems/incorrect-code":
        return "the code is incorrect"
    if status in (429, 503):
        return "try again later"
    raise RuntimeError(f"{status} {problem}")


def unpair(uid):
    """Unpairs a station. If the service does not know it, there is nothing left to do."""
    status, problem, _ = post(f"/v1/scsp/chargingstations/{parse.quote(uid, safe='')}/unpair")
    if status == 200 or problem == "/problems/unknown-station":
        return "unpaired"
    if status in (429, 503):
        return "try again later"
    raise RuntimeError(f"{status} {problem}")


def station_of(uid):
    """Describes a station. Yours comes from your database."""
    connectors = [{"id": "1", "power_type": "AC_3_PHASE", "max_voltage": 220, "max_amperage": 16}]
    return {"uid": uid, "evses": [{"evse_id": 1, "capabilities": ["CHARGING_PROFILE_CAPABLE"], "connectors": connectors}]}


if __name__ == "__main__":
    verb, *args = sys.argv[1:]
    print(pair(args[0], station_of(args[1])) if verb == "pair" else unpair(args[0]))
