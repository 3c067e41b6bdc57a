"""The review page as tests speak to it: the real application over a real database, no browser."""

from __future__ import annotations

import re
from typing import Any

from fastapi.testclient import TestClient

from db.session.engine import Database
from review.app import create_app
from review.security.access import Access, OneTimeToken
from review.security.hosts import Hosts
from review.services import ServerConfig, Services

KEY = b"k" * 32
PORT = 8765
HERE = f"http://127.0.0.1:{PORT}"
JSON = {"accept": "application/json"}


class Site:
    """One server and one browser that may be signed in."""

    def __init__(self, database: Database, access: Access | None = None, key: bytes = KEY, **options: Any) -> None:
        self.database = database
        self.access = access or OneTimeToken("mara")
        config = ServerConfig(access=self.access, hosts=Hosts("127.0.0.1"), key=key, port=PORT, **options)
        self.app = create_app(database, config)
        self.browser = self.another_browser()

    def another_browser(self) -> TestClient:
        return TestClient(self.app, base_url=HERE, follow_redirects=False)

    def sign_in(self, token: str | None = None) -> Site:
        if token is None:
            assert isinstance(self.access, OneTimeToken)
            token = self.access.token
        answer = self.browser.post("/sign-in", data={"token": token})
        assert answer.status_code == 303, answer.text
        return self

    @property
    def services(self) -> Services:
        services: Services = self.app.state.services
        return services

    @property
    def csrf(self) -> str:
        return str(self.browser.get("/session").json()["csrf"])

    def get(self, path: str, **how: Any) -> Any:
        return self.browser.get(path, **how)

    def post(self, path: str, fields: dict[str, Any] | None = None, **how: Any) -> Any:
        """As a form of the page sends it."""
        return self.browser.post(path, data={"csrf": self.csrf} | (fields or {}), **how)

    def ask(self, path: str, fields: dict[str, Any] | None = None) -> Any:
        """As the page's own script sends it."""
        return self.browser.post(path, data=fields or {}, headers=JSON | {"x-csrf-token": self.csrf})


def words_of(page: str) -> str:
    """What a page says, without its markup."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page))
