"""flowlog for pytest: each test is a flow, and of a test that fails the summary tells which component failed first.

Off unless asked for with ``--flowlog``. Until then nothing of flowlog is loaded.
"""

from __future__ import annotations

import pytest

_LOGS = (
    "log files and folders of the processes that a test starts, searched when it fails; "
    "`{name}` is the test's name, `*` anything; they are read from the test's start on"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("flowlog", "which component failed first")
    group.addoption("--flowlog", action="store_true", help="make each test a flow, and say of failed tests which component failed first")
    group.addoption("--flowlog-dir", metavar="DIR", help="where flows and logs of the run are kept (default: flowlog-results)")
    group.addoption("--flowlog-logs", metavar="PATTERN", action="append", help=_LOGS)
    group.addoption("--flowlog-owners", metavar="FILE", action="append", help="whose a component is: owners.toml, Markdown, areas.yaml, CODEOWNERS")
    parser.addini("flowlog_logs", _LOGS, type="linelist", default=[])
    parser.addini("flowlog_owners", "tables of owners, from the root folder", type="linelist", default=[])


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "component(name): the component that a test is about, for flowlog")
    if config.getoption("--flowlog") and not config.option.collectonly:
        from .plugin import Plugin

        config.pluginmanager.register(Plugin(config), "flowlog-plugin")
