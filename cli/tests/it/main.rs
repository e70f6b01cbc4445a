//! Tests of the binary without a server; those with one are in `e2e`. They need the binary, which cargo
//! builds for crates with integration tests like this one.

use std::path::Path;
use std::process::Command;

#[test]
fn it_prints_its_version_and_rejects_an_unknown_command() {
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

/// Runs the binary in `folder`; returns its exit code and what it printed.
fn tasker(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_tasker"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("the binary runs");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).expect("UTF-8"))
}

#[test]
fn a_project_is_written_once_with_all_that_it_needs() {
    let folder = tempfile::tempdir().expect("a folder");
    let (code, text) = tasker(folder.path(), &["new", "my-worker"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("cd my-worker"), "{text}");
    let read = |file: &str| std::fs::read_to_string(folder.path().join("my-worker").join(file)).expect(file);
    for (file, word) in [
        ("Cargo.toml", "name = \"my-worker\""),
        ("Cargo.lock", "name = \"tasker-worker\""),
        ("src/main.rs", "count_primes"),
        ("README.md", "# my-worker"),
        ("Dockerfile", "/usr/local/bin/"),
        (".gitignore", "/target/"),
        (".dockerignore", "target"),
    ] {
        assert!(read(file).contains(word), "{file}: {}", read(file));
    }
    let (code, text) = tasker(folder.path(), &["new", "my-worker"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("not empty"), "{text}");
}

#[test]
fn a_project_may_go_into_an_empty_folder_and_needs_a_checkout() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("empty")).expect("made");
    std::fs::write(folder.path().join("file"), "").expect("written");
    let checkout = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let (code, text) = tasker(folder.path(), &["new", "empty", "--tasker", checkout]);
    assert_eq!(code, Some(0), "{text}");
    for (arguments, word) in [
        (&["new", "other", "--tasker", "."][..], "not a checkout"),
        (&["new", "other", "--tasker", "nowhere"], "not a checkout"),
        (&["new", "a b"], "project name"),
        (&["new", "."], "project name"),
        (&["new", "file"], "cannot be read"),
    ] {
        let (code, text) = tasker(folder.path(), arguments);
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains(word), "{text}");
    }
    assert!(!folder.path().join("other").exists());
}
