#!/usr/bin/env python3
"""Make real logs of one faulty run of NVIDIA Dynamo (frontend + mocker workers) on a CPU-only machine.

    PYTHON_OF_THE_DYNAMO_VENV make_run.py --fault FAULT --out DIR [--format jsonl|readable] [--etcd PATH] [--nats PATH]

Writes a tiny model folder, starts a frontend and the workers as child processes, each with stdout+stderr in
DIR/<name>.log, waits until the model is served, sends concurrent streaming chat requests, injects the fault,
waits, stops everything with SIGTERM (SIGKILL after --grace seconds) and removes this machine's
paths, address and name from the logs.  DIR/run.json has the time of each action (UTC) and the
outcome of each request as seen by its client: ok, failed, rejected (a bad request, HTTP 4xx),
gave_up (client timeout), left (client disconnected) or open_at_stop (still waiting when the stop
began).
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

MODEL = "tiny"
WORDS = [
    "a",
    "the",
    "of",
    "and",
    "to",
    "in",
    "is",
    "it",
    "that",
    "for",
    "on",
    "with",
    "as",
    "was",
    "at",
    "by",
    "be",
    "this",
    "from",
    "or",
    "one",
    "had",
    "not",
    "but",
    "what",
    "all",
    "were",
]


#: Bodies of requests that the frontend must refuse: each is the client's fault.
BAD_BODIES = {
    "malformed JSON": '{"model": "tiny", "messages": [',
    "no JSON": "hello",
    "no messages": json.dumps({"model": MODEL}),
    "empty messages": json.dumps({"model": MODEL, "messages": []}),
    "messages of the wrong type": json.dumps({"model": MODEL, "messages": "hello"}),
    "limit of the wrong type": json.dumps({"model": MODEL, "max_tokens": "many", "messages": [{"role": "user", "content": "a"}]}),
    "value out of range": json.dumps({"model": MODEL, "temperature": 9, "messages": [{"role": "user", "content": "a"}]}),
    "unknown model": json.dumps({"model": "no-such-model", "messages": [{"role": "user", "content": "a"}]}),
}


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def write_model(folder: Path) -> None:
    """Write a word-level tokenizer and a two-layer llama config: all that frontend and mocker read."""
    folder.mkdir(parents=True)
    special = ["<unk>", "<s>", "</s>", "<|user|>", "<|assistant|>"]
    vocab = {w: i for i, w in enumerate(special + WORDS + [f"w{i}" for i in range(2048 - len(special) - len(WORDS))])}
    files = {
        "tokenizer.json": {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "normalizer": None,
            "added_tokens": [
                {"id": i, "content": s, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
                for i, s in enumerate(special)
            ],
            "pre_tokenizer": {"type": "WhitespaceSplit"},
            "post_processor": None,
            "decoder": None,
            "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "<unk>"},
        },
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "unk_token": "<unk>",
            "bos_token": "<s>",
            "eos_token": "</s>",
            "model_max_length": 32768,
            "chat_template": "{% for m in messages %}<|{{ m['role'] }}|> {{ m['content'] }} "
            "{% endfor %}{% if add_generation_prompt %}<|assistant|> {% endif %}",
        },
        "config.json": {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "hidden_act": "silu",
            "vocab_size": 2048,
            "max_position_embeddings": 32768,
            "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "torch_dtype": "float32",
        },
        "generation_config.json": {"bos_token_id": 1, "eos_token_id": 2},
    }
    for name, body in files.items():
        (folder / name).write_text(json.dumps(body, indent=1))


class Chat(threading.Thread):
    """A streaming chat request, and its outcome as seen by the client."""

    def __init__(self, port: int, phase: str, tokens: int, prompt: int, timeout: float, bad_body: str | None = None) -> None:
        super().__init__(daemon=True)
        self.port, self.timeout = port, timeout
        self.last = time.monotonic()
        self.conn: http.client.HTTPConnection | None = None
        self.info: dict = {
            "phase": phase,
            "request_id": str(uuid.uuid4()),
            "sent": now(),
            "status": None,
            "chunks": 0,
            "outcome": None,
            "detail": "",
            "max_silence_s": 0.0,
        }
        text = " ".join(WORDS[i * 7 % len(WORDS)] for i in range(prompt))
        self.bad = bad_body is not None
        self.body = bad_body or json.dumps(
            {"model": MODEL, "stream": True, "max_tokens": tokens, "ignore_eos": True, "messages": [{"role": "user", "content": text}]}
        )
        self.start()

    def run(self) -> None:
        try:
            outcome, detail = self.talk()
        except TimeoutError as e:
            outcome, detail = "gave_up", f"no data for {self.timeout} s: {e}"
        except (OSError, ValueError, AttributeError, http.client.HTTPException) as e:
            outcome, detail = "failed", f"{type(e).__name__}: {e}"
        if self.info["outcome"] is None:
            self.info["outcome"] = outcome
        self.info.update(detail=detail, ended=now())

    def leave(self) -> None:
        """Disconnect in the middle of the response."""
        self.info["outcome"] = "left"
        if self.conn is not None and self.conn.sock is not None:
            self.conn.sock.shutdown(socket.SHUT_RDWR)

    def talk(self) -> tuple[str, str]:
        conn = self.conn = http.client.HTTPConnection("127.0.0.1", self.port, timeout=self.timeout)
        try:
            conn.request("POST", "/v1/chat/completions", self.body, {"content-type": "application/json", "x-request-id": self.info["request_id"]})
            answer = conn.getresponse()
            self.info["status"] = answer.status
            if answer.status != 200:
                refused = self.bad and 400 <= answer.status < 500
                return "rejected" if refused else "failed", answer.read().decode(errors="replace")[:500]
            error = ""
            while line := answer.readline():
                if silence := time.monotonic() - self.last:
                    self.info["max_silence_s"] = round(max(self.info["max_silence_s"], silence), 2)
                self.last = time.monotonic()
                text = line.decode(errors="replace").strip()
                if text.startswith("event: error") or '"error"' in text or (error and text.startswith(":")):
                    error += text[:500] + " "
                elif text == "data: [DONE]":
                    return ("failed", error + "then [DONE]") if error else ("ok", "")
                self.info["chunks"] += text.startswith("data: {")
            return "failed", error or "stream ended without [DONE]"
        finally:
            conn.close()


class Run:
    """Child processes and clients of one run."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.out = args, Path(args.out).resolve()
        shutil.rmtree(self.out, ignore_errors=True)
        self.out.mkdir(parents=True)
        self.work = Path(tempfile.mkdtemp(prefix=".work-", dir=self.out.parent))
        self.model = self.work / "m" / MODEL
        write_model(self.model)
        for name in ("kv", "home", "tmp", "etcd"):
            (self.work / name).mkdir()
        self.env = {
            "PATH": "/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "HOME": str(self.work / "home"),
            "TMPDIR": str(self.work / "tmp"),
            "DYN_FILE_KV": str(self.work / "kv"),
            "HF_HUB_OFFLINE": "1",
            "DYN_LOG": "debug",
            "DYN_LOGGING_JSONL": "1" if args.format == "jsonl" else "0",
            "DYN_LOGGING_SPAN_EVENTS": "1",
            "DYN_SDK_DISABLE_ANSI_LOGGING": "1",
            "DYN_DISCOVERY_BACKEND": "file",
            "DYN_REQUEST_PLANE": "tcp",
            "DYN_EVENT_PLANE": "zmq",
            "ETCD_ENDPOINTS": f"http://127.0.0.1:{args.etcd_port}",
            "NATS_SERVER": f"nats://127.0.0.1:{args.nats_port}",
        }
        self.backend = "file"
        self.request_plane, self.event_plane = "tcp", "zmq"
        self.wake = True
        self.procs: dict[str, subprocess.Popen] = {}
        self.instances: dict[str, str] = {}
        self.chats: list[Chat] = []
        self.events: list[dict] = []

    def note(self, what: str, **more: object) -> None:
        self.events.append({"time": now(), "what": what, **more})
        print(self.events[-1], flush=True)

    def spawn(self, name: str, command: list[str], **variables: str) -> None:
        env = {k: v for k, v in self.env.items() if name != "etcd" or k != "ETCD_ENDPOINTS"} | variables
        with (self.out / f"{name}.log").open("ab") as log:  # a restarted process appends to its log
            self.procs[name] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=env, cwd=self.work, start_new_session=True
            )
        self.note("started", process=name, pid=self.procs[name].pid)

    def planes(self) -> list[str]:
        return ["--discovery-backend", self.backend, "--request-plane", self.request_plane, "--event-plane", self.event_plane]

    def frontend(self) -> None:
        self.spawn(
            "frontend",
            [
                sys.executable,
                "-m",
                "dynamo.frontend",
                "--http-port",
                str(self.args.port),
                "--http-host",
                "127.0.0.1",
                "--migration-limit",
                str(self.args.migration_limit),
                *self.planes(),
            ],
        )

    def worker(self, name: str, *more: str, model: str | None = None, speed: float = 0.1, **variables: str) -> None:
        self.spawn(
            name,
            [
                sys.executable,
                "-m",
                "dynamo.mocker",
                "--model-path",
                model or str(self.model),
                "--model-name",
                MODEL,
                "--max-model-len",
                "30000",
                "--speedup-ratio",
                str(speed),
                *more,
                *self.planes(),
            ],
            **variables,
        )

    def python_worker(self, name: str, *more: str) -> None:
        """Start our own worker, which writes flow records among its other log lines."""
        self.spawn(name, [sys.executable, str(Path(__file__).with_name("worker.py")), "--model-path", str(self.model), "--model-name", MODEL, *more])

    def identify(self, name: str, limit: float = 40) -> None:
        """Wait until the worker that was started last is registered, and record its instance ID."""
        end = time.monotonic() + limit
        while time.monotonic() < end:
            found = {str(i["instance_id"]) for i in self.get("/health").get("instances", []) if i.get("endpoint") == "generate"}
            if new := found - set(self.instances.values()):
                self.instances[name] = new.pop()
                self.note("registered", process=name, instance=self.instances[name])
                return
            time.sleep(0.2)
        self.note("NOT registered", process=name)

    def etcd(self) -> None:
        client, peer = (f"http://127.0.0.1:{self.args.etcd_port + i}" for i in (0, 1))
        self.spawn(
            "etcd",
            [
                self.args.etcd,
                "--logger",
                "zap",
                "--log-outputs",
                "stderr",
                "--data-dir",
                str(self.work / "etcd/data"),
                "--listen-client-urls",
                client,
                "--advertise-client-urls",
                client,
                "--listen-peer-urls",
                peer,
                "--initial-advertise-peer-urls",
                peer,
                "--initial-cluster",
                f"default={peer}",
            ],
        )
        time.sleep(2)

    def nats(self) -> None:
        self.spawn("nats", [self.args.nats, "--addr", "127.0.0.1", "--port", str(self.args.nats_port)])
        time.sleep(1)

    def get(self, path: str) -> dict:
        conn = http.client.HTTPConnection("127.0.0.1", self.args.port, timeout=3)
        try:
            conn.request("GET", path)
            return json.loads(conn.getresponse().read())
        except (OSError, ValueError, http.client.HTTPException):
            return {}
        finally:
            conn.close()

    def served(self, workers: int, limit: float = 40) -> bool:
        """Wait until the model is listed and `workers` workers offer their `generate` endpoint."""
        end = time.monotonic() + limit
        while time.monotonic() < end:
            if any(m.get("id") == MODEL for m in self.get("/v1/models").get("data", [])):
                found = [i for i in self.get("/health").get("instances", []) if i.get("endpoint") == "generate"]
                if len(found) >= workers:
                    self.note("model served", instances=len(found))
                    time.sleep(1)
                    return True
            time.sleep(0.5)
        self.note("model NOT served", waited_s=limit)
        return False

    def send(self, n: int, phase: str, tokens: int = 150, prompt: int = 20, timeout: float = 180) -> list[Chat]:
        self.note("requests sent", n=n, phase=phase, max_tokens=tokens, prompt_words=prompt)
        chats = [Chat(self.args.port, phase, tokens, prompt, timeout) for _ in range(n)]
        self.chats += chats
        return chats

    def send_bad(self, n: int) -> list[Chat]:
        """Send each of the bad requests `n` times."""
        bodies = list(BAD_BODIES.items()) * n
        self.note("bad requests sent", n=len(bodies))
        chats = [Chat(self.args.port, f"bad: {what}", tokens=0, prompt=0, timeout=30, bad_body=body) for what, body in bodies]
        self.chats += chats
        return chats

    def finish(self, chats: list[Chat], limit: float = 90) -> None:
        end = time.monotonic() + limit
        for chat in chats:
            chat.join(max(0.0, end - time.monotonic()))
        self.note("requests waited for", outcomes=[c.info["outcome"] for c in chats])

    def signal(self, name: str, sig: signal.Signals) -> None:
        self.note("signal", signal=sig.name, process=name)
        if self.procs[name].poll() is None:
            os.kill(self.procs[name].pid, sig)
        if sig in (signal.SIGKILL, signal.SIGSEGV):
            self.procs[name].wait(10)

    def freeze(self, name: str, seconds: float) -> None:
        self.signal(name, signal.SIGSTOP)
        time.sleep(seconds)
        self.signal(name, signal.SIGCONT)

    def stop(self) -> None:
        """Stop all live processes: SIGTERM, SIGCONT to resume suspended ones, SIGKILL after the grace time."""
        for chat in self.chats:
            if chat.is_alive():
                chat.info.update(outcome="open_at_stop", silent_s_at_stop=round(time.monotonic() - chat.last, 1))
        alive = [n for n, p in self.procs.items() if p.poll() is None]
        self.note("stop", alive=list(alive), ended_before={n: p.returncode for n, p in self.procs.items() if n not in alive})
        for name in sorted(alive, key=lambda n: n in ("etcd", "nats")):
            os.kill(self.procs[name].pid, signal.SIGTERM)
            if self.wake:
                os.kill(self.procs[name].pid, signal.SIGCONT)
        end = time.monotonic() + self.args.grace
        while alive and time.monotonic() < end:
            for name in [n for n in alive if self.procs[n].poll() is not None]:
                alive.remove(name)
                self.note("exited", process=name, code=self.procs[name].returncode)
            time.sleep(0.05)
        for name in alive:
            self.note("SIGKILL after grace", process=name)
            self.procs[name].kill()
            self.procs[name].wait()
        for chat in self.chats:
            chat.join(5)

    def scrub(self) -> None:
        """Anonymize the logs, shorten the line that dumps the whole environment, and write run.json."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            try:
                s.connect(("192.0.2.1", 9))  # sends nothing, only selects the interface
                address = s.getsockname()[0]
            except OSError:
                address = "127.0.0.1"
        paths = {
            sys.prefix: "/opt/dynamo/venv",
            sys.base_prefix: "/usr",
            self.model: "/models/tiny",
            self.model.parent: "/models",
            Path(__file__).resolve().parents[2]: "/opt/flowlog",
            self.work / "kv": "/srv/dynamo/kv",
            self.work / "home": "/home/dynamo",
            self.work / "tmp": "/scratch",
            self.work / "etcd": "/srv/etcd",
            self.work: "/srv/dynamo",
            self.out: "/var/log/dynamo",
        }
        swaps = sorted(((str(k), v) for k, v in paths.items()), key=lambda kv: -len(kv[0]))
        part = r'\\?"%s\\?":\{[^{}]*\},?'
        dump = re.compile("|".join(part % p for p in ("environment", "installed_packages", "system_info")))
        for log in self.out.glob("*.log"):
            lines = log.read_bytes().decode("utf-8", "surrogateescape").split("\n")
            for i, line in enumerate(lines):
                if "CONFIG_DUMP" in line:
                    line = re.sub(r',(\}+\\?"|\}+$)', r"\1", dump.sub("", line))
                for old, new in swaps:
                    line = line.replace(old, new)
                if not address.startswith("127."):
                    line = line.replace(address, "192.0.2.2")
                lines[i] = re.sub(rf"(?<![\w.-]){re.escape(socket.gethostname())}(?![\w.-])", "host-0", line)
            log.write_bytes("\n".join(lines).encode("utf-8", "surrogateescape"))
        ours = {chat.info["request_id"]: chat.info for chat in self.chats}  # to add the frontend's IDs of our requests
        for line in (self.out / "frontend.log").read_text(errors="replace").splitlines():
            found = dict(re.findall(r"\b(x_request_id|trace_id)\W{1,3}([0-9a-f-]{32,36})", line))
            if info := ours.get(found.pop("x_request_id", "")):
                info.update(found)
                info["log_request_ids"] = sorted({*info.get("log_request_ids", ()), *re.findall(r"(?<!x_)\brequest_id\W{1,3}([0-9a-f-]{36})", line)})
        (self.out / "run.json").write_text(
            json.dumps(
                {
                    "fault": self.args.fault,
                    "format": self.args.format,
                    "events": self.events,
                    "instances": self.instances,
                    "exit_codes": {n: p.returncode for n, p in self.procs.items()},
                    "requests": [c.info for c in self.chats],
                },
                indent=1,
            )
        )
        shutil.rmtree(self.work, ignore_errors=True)


# --- faults: each function is the whole course of a run up to the ordinary stop ---------------------------------------


def two_workers(run: Run) -> None:
    """Start a frontend and two aggregated workers, and finish three short requests."""
    run.frontend()
    run.worker("worker-0")
    run.worker("worker-1")
    run.served(2)
    run.finish(run.send(3, "before", tokens=20))


def identified_workers(run: Run, count: int = 2, *more: str, **variables: str) -> None:
    """Like `two_workers`, but record each worker's instance ID from the frontend's list.

    `more` flags and `variables` of the environment are those of the first worker alone.
    """
    run.frontend()
    for i in range(count):
        name = f"worker-{i}"
        if i == 0:
            run.worker(name, *more, **variables)
        else:
            run.worker(name)
        run.identify(name)
    run.served(count)
    run.finish(run.send(3, "before", tokens=20))


def kill_in_flight(run: Run, sig: signal.Signals = signal.SIGKILL) -> None:
    """Kill the first worker with requests in flight, and send some more."""
    flight = run.send(6, "in flight")
    time.sleep(3)
    run.signal("worker-0", sig)
    run.finish(flight, 60)
    run.finish(run.send(3, "after", tokens=20), 30)


def healthy(run: Run) -> None:
    identified_workers(run)
    run.finish(run.send(6, "more", tokens=40))


def worker_kill(run: Run) -> None:
    identified_workers(run)
    kill_in_flight(run)


def worker_kill_migrated(run: Run) -> None:
    """The requests of the killed worker migrate to the other one."""
    run.args.migration_limit = 3
    worker_kill(run)


def worker_hang(run: Run) -> None:
    identified_workers(run)
    flight = run.send(6, "in flight", timeout=12)
    time.sleep(3)
    run.signal("worker-0", signal.SIGSTOP)
    run.finish(flight, 40)
    time.sleep(2)


def worker_segfault(run: Run) -> None:
    identified_workers(run)
    kill_in_flight(run, signal.SIGSEGV)


def two_workers_killed(run: Run) -> None:
    identified_workers(run, 3)
    flight = run.send(9, "in flight")
    time.sleep(2)
    run.signal("worker-0", signal.SIGKILL)
    time.sleep(2)
    run.signal("worker-1", signal.SIGKILL)
    run.finish(flight, 60)
    run.finish(run.send(3, "after", tokens=20), 30)


def skewed_worker_kill(run: Run) -> None:
    """The wall clock of the killed worker is an hour ahead.

    Discovery is by etcd: with files, that worker deletes the registration of the other one as outdated.
    """
    library = faketime()
    if library is None:
        sys.exit("libfaketime.so.1 not found: it is in Debian's package faketime")
    run.backend = "etcd"
    run.etcd()
    identified_workers(run, LD_PRELOAD=str(library), FAKETIME="+3600", FAKETIME_DONT_FAKE_MONOTONIC="1")
    kill_in_flight(run)


def overloaded_worker_kill(run: Run) -> None:
    """The killed worker serves two of its requests at a time; the others wait in its queue."""
    identified_workers(run, 2, "--max-num-seqs", "2")
    flight = run.send(40, "in flight", tokens=60)
    time.sleep(6)
    run.signal("worker-0", signal.SIGKILL)
    run.finish(flight, 60)
    run.finish(run.send(3, "after", tokens=20), 30)


def freeze_in_flight(run: Run, name: str, timeout: int) -> None:
    """Freeze a process for ten seconds, longer than the clients of requests in flight wait."""
    identified_workers(run)
    flight = run.send(6, "in flight", timeout=timeout)
    time.sleep(3)
    run.freeze(name, 10)
    run.finish(flight, 40)
    run.finish(run.send(3, "after", tokens=20), 30)


def worker_freeze(run: Run) -> None:
    """The clients of the frozen worker time out, and it goes on after that."""
    freeze_in_flight(run, "worker-0", 6)


def frontend_freeze(run: Run) -> None:
    """All clients time out, and the frontend goes on after that."""
    freeze_in_flight(run, "frontend", 5)


def short_freezes(run: Run) -> None:
    """Workers and frontend freeze in turn, each time for less than the timeout of any client."""
    identified_workers(run)
    flight = run.send(6, "in flight", tokens=200)
    for name, seconds in (("worker-0", 1), ("frontend", 1.5), ("worker-1", 2), ("frontend", 1), ("worker-0", 1.5)):
        time.sleep(1)
        run.freeze(name, seconds)
    run.finish(flight + run.send(3, "after", tokens=20), 60)


def bad_requests(run: Run) -> None:
    identified_workers(run)
    flight = run.send(4, "among bad ones", tokens=60)
    for _ in range(4):
        flight += run.send_bad(3)
        flight += run.send(2, "among bad ones", tokens=20)
        time.sleep(1)
    run.finish(flight, 60)


def send_and_leave(run: Run) -> None:
    """Send requests whose clients leave after two seconds."""
    identified_workers(run)
    left = run.send(4, "left", tokens=400, timeout=600)
    time.sleep(2)
    for chat in left:
        chat.leave()


def client_abort(run: Run) -> None:
    send_and_leave(run)
    time.sleep(2)
    run.finish(run.send(3, "after", tokens=20))


def client_abort_late(run: Run) -> None:
    """Clients leave long answers after half a minute without a fault."""
    identified_workers(run)
    left = run.send(4, "left", tokens=2000, timeout=600)
    time.sleep(15)
    run.finish(run.send(3, "meanwhile", tokens=20))
    time.sleep(13)
    for chat in left:
        chat.leave()
    time.sleep(2)
    run.finish(run.send(3, "after", tokens=20))


def client_abort_then_kill(run: Run) -> None:
    send_and_leave(run)
    time.sleep(3)
    kill_in_flight(run)


def split_workers(run: Run) -> None:
    """Start a frontend, a prefill and two decode workers, and finish four short requests."""
    run.frontend()
    for name, mode, speed in (("prefill-0", "prefill", 0.05), ("decode-0", "decode", 0.1), ("decode-1", "decode", 0.1)):
        run.worker(name, "--disaggregation-mode", mode, speed=speed)
        run.identify(name)
    run.served(3)
    run.finish(run.send(4, "before", tokens=20))


def split_decode_kill(run: Run) -> None:
    split_workers(run)
    flight = run.send(6, "in decode")
    time.sleep(3)
    run.signal("decode-0", signal.SIGKILL)
    run.finish(flight, 60)
    run.finish(run.send(3, "after", tokens=20), 30)


def split_prefill_kill(run: Run) -> None:
    split_workers(run)
    flight = run.send(4, "in prefill", tokens=60, prompt=4000)
    time.sleep(1.5)
    run.signal("prefill-0", signal.SIGKILL)
    time.sleep(1)
    run.finish(flight + run.send(3, "after", tokens=20), 60)


def python_worker(run: Run, *more: str) -> None:
    run.frontend()
    run.python_worker("python-0", *more)
    run.identify("python-0")
    run.served(1)
    run.finish(run.send(3, "before", tokens=10))
    run.finish(run.send(4, "long", tokens=60))


def python_worker_fails(run: Run) -> None:
    """The worker's long requests run out of blocks."""
    python_worker(run, "--fail-after", "30")


def prefill_kill(run: Run, *prefill_flags: str) -> None:
    run.frontend()
    run.worker("prefill-0", "--disaggregation-mode", "prefill", *prefill_flags, speed=0.05)
    run.worker("decode-0", "--disaggregation-mode", "decode")
    run.worker("decode-1", "--disaggregation-mode", "decode")
    run.served(3)
    run.finish(run.send(4, "before", tokens=20))
    decoding = run.send(2, "decoding", tokens=150)  # past their prefill when the worker dies
    time.sleep(2.5)
    flight = run.send(4, "in prefill", tokens=60, prompt=4000)
    time.sleep(1.5)
    run.signal("prefill-0", signal.SIGKILL)
    time.sleep(1)
    soon = run.send(3, "after", tokens=20)
    run.finish(decoding + flight + soon, 60)
    time.sleep(15)  # let the dead worker's registration expire
    run.finish(run.send(3, "late", tokens=20), 30)


def prefill_kill_bootstrap(run: Run) -> None:
    prefill_kill(run, "--bootstrap-ports", str(run.args.port + 10))


def worker_stop(run: Run, timeout: float = 15) -> None:
    two_workers(run)
    flight = run.send(6, "in flight", timeout=timeout)
    time.sleep(3)
    run.signal("worker-0", signal.SIGSTOP)
    time.sleep(2)
    flight += run.send(4, "after", tokens=40, timeout=timeout)
    run.finish(flight, 40)
    time.sleep(4)


def worker_stop_noclientgiveup(run: Run) -> None:
    worker_stop(run, 600)


def worker_stop_hardkill(run: Run) -> None:
    """Like the above, but the worker stays suspended: SIGTERM is pending until SIGKILL."""
    run.wake = False
    worker_stop(run, 600)


def worker_kill_idle(run: Run) -> None:
    two_workers(run)
    time.sleep(2)
    run.signal("worker-0", signal.SIGKILL)
    time.sleep(1)
    run.finish(run.send(6, "after", tokens=40))
    time.sleep(15)
    run.finish(run.send(4, "late", tokens=40))


def wrong_model_path(run: Run, good: bool = True) -> None:
    run.frontend()
    if good:
        run.worker("worker-0")
    run.worker("worker-1", model="/models/no-such-model")
    run.served(1, 15)
    run.finish(run.send(4, "after", tokens=40))
    time.sleep(3)


def wrong_model_path_alone(run: Run) -> None:
    wrong_model_path(run, good=False)


def port_in_use(run: Run) -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", run.args.port))
        taken.listen()
        run.note("port taken", port=run.args.port)
        run.worker("worker-0")
        time.sleep(2)
        run.frontend()
        time.sleep(12)


def etcd_lost(run: Run) -> None:
    run.backend = "etcd"
    run.etcd()
    two_workers(run)
    flight = run.send(4, "in flight")
    time.sleep(3)
    run.signal("etcd", signal.SIGKILL)
    for after, wait in ((1, 1), (13, 12), (25, 12), (40, 15)):  # processes exit about 24 s and 32 s after the kill
        time.sleep(wait)
        flight += run.send(2, f"{after} s after", tokens=40)
    run.finish(flight, 40)


def etcd_restart(run: Run) -> None:
    """The etcd that comes back after two seconds has kept its data; no request fails."""
    run.backend = "etcd"
    run.etcd()
    identified_workers(run)
    flight = run.send(4, "in flight")
    time.sleep(2)
    run.signal("etcd", signal.SIGKILL)
    time.sleep(2)
    run.etcd()
    run.finish(flight, 60)
    time.sleep(8)  # the lease of a worker that has not reconnected expires
    run.finish(run.send(6, "after", tokens=20), 30)


def nats_lost(run: Run) -> None:
    """NATS carries the requests and events."""
    run.request_plane = run.event_plane = "nats"
    run.nats()
    identified_workers(run)
    flight = run.send(4, "in flight")
    time.sleep(3)
    run.signal("nats", signal.SIGKILL)
    for _ in range(3):
        time.sleep(2)
        flight += run.send(2, "after", tokens=20, timeout=20)
    run.finish(flight, 40)


def etcd_absent(run: Run, wait: float = 45) -> None:
    run.backend = "etcd"
    run.frontend()
    run.worker("worker-0")
    run.worker("worker-1")
    run.served(2, wait)


def etcd_absent_long(run: Run) -> None:
    etcd_absent(run, 130)  # longer than the 120 s for which a process retries etcd at startup


def frontend_kill(run: Run) -> None:
    two_workers(run)
    flight = run.send(6, "in flight")
    time.sleep(3)
    run.signal("frontend", signal.SIGKILL)
    run.finish(flight, 20)
    run.finish(run.send(2, "after", tokens=20), 10)
    time.sleep(8)


def graceful_worker_term(run: Run) -> None:
    two_workers(run)
    flight = run.send(6, "in flight")
    time.sleep(3)
    run.signal("worker-0", signal.SIGTERM)
    time.sleep(0.5)
    flight += run.send(4, "after", tokens=40)
    run.finish(flight)
    time.sleep(5)
    run.finish(run.send(3, "late", tokens=20))


def sigterm_all_inflight(run: Run) -> None:
    two_workers(run)
    run.send(6, "in flight")
    time.sleep(3)  # followed by the ordinary stop


FAULTS: dict[str, Callable[[Run], None]] = {
    f.__name__.replace("_", "-"): f
    for f in (
        healthy,
        worker_kill,
        worker_kill_migrated,
        worker_segfault,
        two_workers_killed,
        skewed_worker_kill,
        overloaded_worker_kill,
        worker_hang,
        worker_freeze,
        frontend_freeze,
        short_freezes,
        bad_requests,
        client_abort,
        client_abort_late,
        client_abort_then_kill,
        split_prefill_kill,
        split_decode_kill,
        python_worker,
        python_worker_fails,
        prefill_kill,
        prefill_kill_bootstrap,
        worker_stop,
        worker_stop_noclientgiveup,
        worker_stop_hardkill,
        worker_kill_idle,
        wrong_model_path,
        wrong_model_path_alone,
        port_in_use,
        etcd_lost,
        etcd_restart,
        nats_lost,
        etcd_absent,
        etcd_absent_long,
        frontend_kill,
        graceful_worker_term,
        sigterm_all_inflight,
    )
}


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fault", required=True, choices=FAULTS)
    parser.add_argument("--out", required=True)
    parser.add_argument("--format", choices=("jsonl", "readable"), default="jsonl")
    parser.add_argument("--port", type=int, help="of the frontend; the eleven from it on are used; default: free ones")
    parser.add_argument("--migration-limit", type=int, default=0)
    parser.add_argument("--etcd", default=shutil.which("etcd"), help="the etcd binary, for the etcd faults")
    parser.add_argument("--etcd-port", type=int, help="of etcd; it and the next are used; default: free ones")
    parser.add_argument("--nats", default=nats_server(), help="the nats-server binary, for the NATS fault")
    parser.add_argument("--nats-port", type=int, help="of NATS; default: a free one")
    parser.add_argument("--grace", type=float, default=40, help="seconds between SIGTERM and SIGKILL")
    args = parser.parse_args(arguments)
    args.port = args.port or free_ports(11)
    args.etcd_port = args.etcd_port or free_ports(2)
    args.nats_port = args.nats_port or free_ports(1)
    return args


def nats_server() -> str | None:
    """Return the path of the NATS server; Debian installs it in a directory that is not in every user's path."""
    return shutil.which("nats-server", path=os.environ.get("PATH", "") + ":/usr/sbin")


def faketime() -> Path | None:
    """Return the path of the library that gives a process a wrong time."""
    return next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)


def free_ports(count: int) -> int:
    """Return the first of as many free consecutive ports, below those that the kernel hands out."""
    while True:
        first = random.randrange(20_000, 32_000)
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for port in range(first, first + count):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return first


def make(args: argparse.Namespace) -> Run:
    """Make one run; processes are stopped even if it raises."""
    run = Run(args)
    try:
        FAULTS[args.fault](run)
    finally:
        run.stop()
        run.scrub()
    return run


def main() -> None:
    args = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    make(args)


if __name__ == "__main__":
    main()
