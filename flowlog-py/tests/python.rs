//! Runs the Python tests against the module built here, so that coverage includes both languages.

use std::env;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Returns a Python with the packages of `requirements.txt`, which `scripts/test` creates.
fn python(root: &Path) -> Option<PathBuf> {
    let python = env::var_os("FLOWLOG_PYTHON")
        .map_or_else(|| root.join("target/python/bin/python"), PathBuf::from);
    let has_pytest = Command::new(&python)
        .args(["-c", "import pytest, polars, duckdb"])
        .output()
        .is_ok_and(|done| done.status.success());
    has_pytest.then_some(python)
}

#[test]
fn python_tests_pass() {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = own.parent().unwrap();
    let Some(python) = python(root) else {
        eprintln!(
            "SKIPPED: no Python with the packages of flowlog-py/tests/requirements.txt; `scripts/test` creates one in target/python"
        );
        return;
    };
    let built = env::current_exe().unwrap().parent().unwrap().to_path_buf();
    let packages = tempfile::tempdir().unwrap();
    for package in ["flowlog", "flowlog_pytest"] {
        fs::create_dir(packages.path().join(package)).unwrap();
        for file in fs::read_dir(own.join("python").join(package)).unwrap() {
            let file = file.unwrap();
            let name = file.file_name();
            if !name.to_string_lossy().ends_with(".so") && name != "__pycache__" {
                symlink(file.path(), packages.path().join(package).join(name)).unwrap();
            }
        }
    }
    symlink(built.join("libflowlog_py.so"), packages.path().join("flowlog/_flowlog.so")).unwrap();
    symlink(
        built.parent().unwrap().join("examples/libcomponent.so"),
        packages.path().join("component.so"),
    )
    .unwrap();
    let status = Command::new(python)
        .current_dir(own)
        .args([
            "-m",
            "pytest",
            "-q",
            "--tb=short",
            "--cov",
            "--cov-config=pyproject.toml",
            "--cov-report=term-missing:skip-covered",
        ])
        .args(["--cov-fail-under=95"])
        .env("PYTHONPATH", packages.path())
        .env("COVERAGE_FILE", packages.path().join(".coverage"))
        .status()
        .unwrap();
    assert!(status.success(), "{status}");
}
