"""A server on this machine that stands in for the Hugging Face hub: its repositories are folders.

It answers the requests of huggingface_hub's upload_folder, and refuses tokens as the hub does.
"""

import base64
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Hub(BaseHTTPRequestHandler):
    root: Path  # its repositories
    seen: list  # method, path and body of each request

    def log_message(self, *_):
        pass

    def answer(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"] or 0)).decode()
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        self.seen.append((self.path, body))
        if token != "hf_writes":
            status, error = (403, "Forbidden") if token == "hf_reads" else (401, "Unauthorized")
            return self.answer(status, {"error": error})
        path = self.path.split("/")
        if self.path == "/api/repos/create":
            name = json.loads(body)
            repository = f"{name['organization']}/{name['name']}"
            (self.root / repository).mkdir(parents=True, exist_ok=True)
            return self.answer(200, {"url": f"https://huggingface.co/{repository}"})
        if self.path == "/api/validate-yaml":
            return self.answer(200, {"errors": [], "warnings": []})
        if path[5] == "preupload":
            files = [{"path": one["path"], "uploadMode": "regular", "shouldIgnore": False}
                     for one in json.loads(body)["files"]]  # fmt: skip
            return self.answer(200, {"files": files})
        if path[5] == "commit":
            self.commit(self.root / path[3] / path[4], [*map(json.loads, body.splitlines())])
            url = f"https://huggingface.co/{path[3]}/{path[4]}/commit/{'a' * 40}"
            return self.answer(200, {"commitUrl": url, "commitOid": "a" * 40, "success": True})
        return self.answer(200, {})

    def commit(self, folder, lines):
        for line in lines:
            if line["key"] == "file":
                file = folder / line["value"]["path"]
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(base64.b64decode(line["value"]["content"]))


@contextmanager
def serving(root, monkeypatch, token="hf_writes"):
    """Serve the repositories of a folder as the hub of this process; gives the requests."""
    from huggingface_hub import constants

    handler = type("Handler", (Hub,), {"root": root, "seen": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", token)
    try:
        yield handler.seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
