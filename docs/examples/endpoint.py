"""Serves the CPO's half of the protocol. Needs Python 3.8 or later and no packages:

    export ENDPOINT_TOKEN=a-token-of-your-own CPO_ID=…
    python3 endpoint.py 8080 codes.json
"""
import hmac, json, os, re, secrets, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

PROTOCOLS = ("ocpp1.6", "ocpp2.0.1", "ocpp2.1", "ocpi2.2", "ocpi2.2.1", "ocpi2.3.0")
MAX_BODY = 65_536
codes, paired = {}, set()  # yours are in your database
lock = threading.Lock()  # yours is a transaction


def issue(uid, seconds=600):
    """Issues a code for a station, for your customer to type in the Jedlix app."""
    code = f"{secrets.randbelow(10 ** 9):09}"  # show it as 123-456-789 if you like
    codes[code] = (uid, time.monotonic() + seconds)
    return code


def pair(protocol, body):
    try:
        code = json.loads(body)["code"]
    except (ValueError, TypeError, KeyError, RecursionError):
        code = None
    if not isinstance(code, str):
        return 400, {"message": "The body must be a JSON object with a string code."}
    code = re.sub(r"[\s\u2010-\u2015-]", "", code)  # it arrives as typed, with the customer's spaces and dashes
    with lock:  # of simultaneous requests only one gets the code
        uid, expires_at = codes.pop(code, (None, 0))
        if time.monotonic() >= expires_at:
            return 404, {"message": "Incorrect Code, please check the code and try again."}
        paired.add(uid.lower())
    return 200, station_of(uid, protocol)


def unpair(uid):
    with lock:
        if uid.lower() not in paired:
            return 404, {"message": "This station is not paired."}
        paired.remove(uid.lower())
    return 200, {"message": "Charging station successfully unpaired."}


def station_of(uid, protocol):
    """Describes a station. Yours comes from your database."""
    connectors = [{"id": "1", "power_type": "AC_3_PHASE", "max_voltage": 230, "max_amperage": 16}]
    evse = {"capabilities": ["CHARGING_PROFILE_CAPABLE"], "connectors": connectors}
    if protocol.startswith("ocpi"):
        return {"evse": {"uid": uid, **evse}}
    return {"charging_station": {"uid": uid, "evses": [{"evse_id": 1, **evse}]}}


class Endpoint(BaseHTTPRequestHandler):
    timeout = 30

    def answer_request(self):
        length = self.headers.get("Content-Length", "0")
        body = self.rfile.read(min(int(length), MAX_BODY)) if length.isdigit() else b""
        path = self.path.split("?")[0].split("/")[1:]  # the uid is decoded after this, once
        if self.command == "GET" and path == [".well-known", "scsp-pairing"]:
            return self.send(200, os.environ.get("CPO_ID", ""), "text/plain")  # a sandbox asks who wants to be called
        expected = f"Bearer {os.environ['ENDPOINT_TOKEN']}"
        if not hmac.compare_digest(self.headers.get("Authorization", "").encode(), expected.encode()):
            return self.send_json(401, {"message": "Unauthorized."}, {"WWW-Authenticate": "Bearer"})
        is_pair = len(path) == 4 and path[3] == "pair" and path[2] in PROTOCOLS
        is_unpair = len(path) == 5 and path[4] == "unpair" and path[2] in ("chargingstations", "evse")
        if path[:2] != ["v1", "cpo"] or not (is_pair or is_unpair):
            return self.send_json(404, {"message": "Unknown path."})
        if self.command != "POST":
            return self.send_json(405, {"message": "Use POST."}, {"Allow": "POST"})
        self.send_json(*(pair(path[2], body) if is_pair else unpair(unquote(path[3]))))

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer_request

    def send_json(self, status, body, headers={}):
        self.send(status, json.dumps(body), "application/json", headers)

    def send(self, status, text, media_type, headers={}):
        content = text.encode()
        self.send_response(status)
        for name, value in {"Content-Type": media_type, "Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_request(self, status="-", size="-"):
        path = self.path.split("?")[0]
        print(self.headers.get("X-Request-ID"), self.command, path, status, flush=True)


if __name__ == "__main__":
    port, file = int(sys.argv[1]), sys.argv[2]
    good = [issue(f"Station-{n}") for n in range(1, 9)]
    same_station = [issue("Station-9"), issue("Station-9")]
    used, expired = issue("Station-10"), issue("Station-11", seconds=0)
    del codes[used]
    with open(file, "w") as out:  # what `scsp conformance cpo --codes` needs; new codes for each run
        json.dump({"good": good, "same_station": same_station, "used": used, "expired": expired}, out)
    server = ThreadingHTTPServer(("127.0.0.1", port), Endpoint)
    print(f"http://localhost:{server.server_port} has issued the code {issue('Station-12')}", flush=True)
    server.serve_forever()
