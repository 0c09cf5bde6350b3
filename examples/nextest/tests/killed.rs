//! One test that passes, and one in which the server is killed.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

fn start() -> Child {
    let mut server =
        Command::new(env!("CARGO_BIN_EXE_server")).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    server
}

#[test]
fn passes() {
    assert!(std::env::var("TRACEPARENT").unwrap().ends_with("-01"));
}

#[test]
fn server_is_killed() {
    let mut server = start();
    server.kill().unwrap();
    assert!(server.wait().unwrap().success(), "the server died");
}
