//! Makes the checked SQL of this crate build without a database, wherever it is built.
//!
//! The macros of `sqlx` ask the database of `DATABASE_URL` when it is set, and that one rarely has this
//! schema: a program that uses the crate has a database of its own, or none of the migrations yet. So the
//! macros read the cached descriptions in `.sqlx` instead. Inside the checkout `SQLX_OFFLINE` decides, which
//! `.cargo/config.toml` sets and `cargo sqlx prepare` overrides. That file also sets `TASKER_CHECKOUT`, since
//! `cargo sqlx prepare` in a project that depends on this crate sets `SQLX_OFFLINE` as well.

use std::env;
use std::path::Path;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // a new file there is embedded, though none of those that the compiler read has changed
    println!("cargo:rerun-if-changed=migrations");
    for name in ["TASKER_CHECKOUT", "SQLX_OFFLINE", "SQLX_OFFLINE_DIR"] {
        println!("cargo:rerun-if-env-changed={name}");
    }
    let in_checkout = env::var_os("TASKER_CHECKOUT").is_some();
    if in_checkout && env::var_os("SQLX_OFFLINE").is_some() {
        return;
    }
    println!("cargo:rustc-env=SQLX_OFFLINE=true");
    let recorded = env::var_os("CARGO_MANIFEST_DIR").map(|folder| Path::new(&folder).join(".sqlx"));
    if let Some(recorded) = recorded.as_deref().and_then(Path::to_str) {
        println!("cargo:rustc-env=SQLX_OFFLINE_DIR={recorded}");
    }
}
