//! The binary itself. What it does with a server is tested in `e2e`, which needs it built: cargo builds the binaries of
//! crates with tests like these.

use std::process::Command;

#[test]
fn it_tells_its_version_and_refuses_a_command_that_it_does_not_know() {
    let run = |argument: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_tasker")).arg(argument).output();
        output.expect("the binary runs")
    };
    let version = run("--version");
    assert_eq!(version.status.code(), Some(0));
    let text = String::from_utf8(version.stdout).expect("UTF-8");
    assert_eq!(text.trim(), format!("tasker {}", env!("CARGO_PKG_VERSION")));
    assert_eq!(run("tsak").status.code(), Some(2));
}
