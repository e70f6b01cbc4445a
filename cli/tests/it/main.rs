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

#[test]
fn a_template_is_checked_and_drawn_without_a_server() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |file: &str, text: &str| std::fs::write(folder.path().join(file), text).expect(file);
    write(
        "good.yaml",
        "name: x\nsteps:\n  - {name: a, run: echo}\n  - {name: b, run: echo, needs: [a]}\n",
    );
    write(
        "bad.yaml",
        "name: x\nsteps:\n  - {name: a, run: echo, needs: [c]}\n  - {name: a, run: echo}\n",
    );
    let run = |arguments: &[&str]| tasker(folder.path(), arguments);
    let (code, text) = run(&["template", "check", "good.yaml"]);
    assert_eq!((code, text.trim()), (Some(0), "1 file: 0 errors, 0 warnings"));
    let (code, text) = run(&["template", "check", "good.yaml", "bad.yaml", "none.yaml"]);
    assert_eq!(code, Some(1), "{text}");
    for start in [
        "bad.yaml:3: /steps/0/needs/0: ",
        "bad.yaml:4: /steps/1/name: ",
        "none.yaml: cannot read none.yaml: ",
        "3 files: 3 errors, 0 warnings",
    ] {
        assert!(
            text.lines().any(|line| line.starts_with(start)),
            "{start}: {text}"
        );
    }
    let (code, text) = run(&["template", "graph", "good.yaml"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.starts_with("default/x 1.0.0: 2 steps, 2 levels\n"), "{text}");
    let (code, text) = run(&["template", "graph", "good.yaml", "--format", "mermaid"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.starts_with("flowchart"), "{text}");
    assert_eq!(run(&["template", "graph", "bad.yaml"]).0, Some(1));
    assert_eq!(run(&["template", "check"]).0, Some(2));
}

#[test]
fn a_workflow_that_cannot_be_started_is_rejected_without_a_request() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("x.yaml"), "name: [\n").expect("written");
    let (code, text) = tasker(folder.path(), &["workflow", "run", "x.yaml"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.starts_with("x.yaml:"), "{text}");
    let line = ["workflow", "run", "x.yaml", "--version", "1.0.0"];
    assert_eq!(tasker(folder.path(), &line).0, Some(2));
}
