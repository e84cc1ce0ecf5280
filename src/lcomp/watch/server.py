"""What is answered to browsers of this machine, and to nobody else."""

from __future__ import annotations

import json
import os
import secrets
import socket
from typing import TYPE_CHECKING

from lcomp.errors import UserError, needing
from lcomp.record import limits, live_run
from lcomp.record.files import Jsonable
from lcomp.record.limits import Refused
from lcomp.record.result import FILE_NAME
from lcomp.record.untrusted import read_bytes
from lcomp.report.page import rounded
from lcomp.watch import log_tail
from lcomp.watch.live_page import LivePage

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

ADDRESS = "127.0.0.1"
PORT = 8765  # where it is free
HOSTS = [ADDRESS, "localhost"]  # what a browser may call this machine: no name of another's that leads here
TOKEN = "x-lcomp-token"  # the header of a request that changes something
HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
}


def application(live: LivePage, token: str, may_stop: bool) -> Starlette:
    """The page and what its script asks for, all under a path that nobody guesses.

    Args:
        token: of the path, and of each request that stops a run.
        may_stop: whether there are such.
    """
    with needing("watch", "lcomp watch"):
        from starlette.applications import Starlette
        from starlette.middleware import Middleware
        from starlette.middleware.trustedhost import TrustedHostMiddleware
        from starlette.responses import Response
        from starlette.routing import Mount, Route

    def answer(content: str | bytes, status: int = 200, kind: str = "text/plain") -> Response:
        return Response(content, status, HEADERS, kind)

    def answer_json(content: dict[str, Jsonable]) -> Response:
        return answer(json.dumps(rounded(content), separators=(",", ":")), kind="application/json")

    def show(request: Request) -> Response:
        return answer(live.html({"token": token, "may_stop": may_stop}), kind="text/html")

    def state(request: Request) -> Response:
        return answer_json(live.state(whole_number(request, "version") or 0))

    def log(request: Request) -> Response:
        folder = live.run_folder(request.query_params.get("run", ""))
        if folder is None:
            return answer("no such run", 404)
        try:
            return answer_json(log_tail.read_piece(folder / log_tail.FILE, whole_number(request, "from"))._asdict())
        except FileNotFoundError:
            return answer_json(log_tail.Piece("", 0, 0)._asdict())
        except (OSError, Refused):
            return answer("its log is no file that can be read", 404)

    def stop(request: Request) -> Response:
        if not may_stop:
            return answer("runs are stopped where lcomp watch was started with --allow-stop", 403)
        own = f"http://{request.headers.get('host', '')}"
        given = request.headers.get(TOKEN, "")
        if request.headers.get("origin") != own or not secrets.compare_digest(given.encode(), token.encode()):
            return answer("this request is not from the page of this server", 403)
        folder = live.run_folder(request.query_params.get("run", ""))
        if folder is None:
            return answer("no such run", 404)
        if (folder / FILE_NAME).exists():
            return answer("that run has ended", 409)
        try:
            live_run.request_stop(folder)
        except OSError as error:
            return answer(f"the run cannot be asked to end: {error.strerror}", 500)
        return answer("asked to end", 202)

    def record(request: Request) -> Response:
        path = live.record_file(request.path_params["link"])
        try:
            return (
                answer("no such record", 404)
                if path is None
                else answer(read_bytes(path, limits.RECORD), kind="application/json")
            )
        except (OSError, Refused):
            return answer("no record that can be read", 404)

    routes = [
        Route("/", show),
        Route("/state", state),
        Route("/log", log),
        Route("/stop", stop, methods=["POST"]),
        Route("/{link:path}", record),
    ]
    trusted = Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS, www_redirect=False)
    return Starlette(routes=[Mount(f"/{token}", routes=routes)], middleware=[trusted])


def whole_number(request: Request, name: str) -> int | None:
    """A number in the request's address; None where there is none."""
    given = request.query_params.get(name, "")
    return int(given) if given.isascii() and given.isdigit() and len(given) < 16 else None


def listen(port: int | None) -> socket.socket:
    """A socket that only this machine reaches.

    Args:
        port: None for the usual one, or a free one where that is taken.

    Raises:
        UserError: the port is taken, or not this user's to take.
    """
    try:
        return socket.create_server((ADDRESS, PORT if port is None else port))
    except OSError as error:
        if port is None:
            return socket.create_server((ADDRESS, 0))
        why = os.strerror(error.errno or 0)
        raise UserError(
            f"--port {port}: cannot be listened at ({why}); name another, or leave it out for a free one"
        ) from error


def serve(app: Starlette, listening: socket.socket) -> None:
    """Answers until Ctrl-C."""
    with needing("watch", "lcomp watch"):
        import uvicorn

    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    server.run(sockets=[listening])
