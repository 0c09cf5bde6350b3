"""flowlog for pytest: each test is a flow, and the summary names what failed first in failed tests.

Off unless enabled with ``--flowlog``. Without it, no other part of flowlog is loaded.
"""

from __future__ import annotations

import pytest

_LOGS = (
    "log files and folders of processes started by a test, analyzed when the test fails; "
    "`{name}` is the test's name, `*` matches anything; lines from before the start of the test are ignored"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("flowlog", "find the component that failed first")
    group.addoption("--flowlog", action="store_true", help="make each test a flow, and report which component failed first in failed tests")
    group.addoption("--flowlog-dir", metavar="DIR", help="folder for the flows and logs of the run (default: flowlog-results)")
    group.addoption("--flowlog-logs", metavar="PATTERN", action="append", help=_LOGS)
    group.addoption("--flowlog-owners", metavar="FILE", action="append", help="owner table: owners.toml, Markdown, areas.yaml or CODEOWNERS")
    parser.addini("flowlog_logs", _LOGS, type="linelist", default=[])
    parser.addini("flowlog_owners", "owner tables, relative to the root folder", type="linelist", default=[])


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "component(name): the component under test, for flowlog")
    if config.getoption("--flowlog") and not config.option.collectonly:
        from .plugin import Plugin

        config.pluginmanager.register(Plugin(config), "flowlog-plugin")
