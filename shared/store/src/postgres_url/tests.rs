//! Postgres URLs, parsed with variables and files defined by the tests.

use super::*;
use tasker_platform::host::fake::FakeHost;

const BASE: &str = "postgres://me:vR7.qz2Lm@db/t";

fn errors(url: &str, host: &FakeHost) -> Vec<String> {
    let errors = read(url, Client::Tasker, host).expect_err("errors");
    errors
        .into_iter()
        .map(|error| match error.variable {
            Some(variable) => format!("{variable}: {}", error.message),
            None => error.message,
        })
        .collect()
}

fn mode(url: &str, host: &FakeHost) -> String {
    let url = read(url, Client::Tasker, host).expect("a valid URL");
    format!("{:?}", url.options.get_ssl_mode())
}

fn with_authority() -> FakeHost {
    // any text between the marks is a certificate until it is used
    let pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    FakeHost::default().file("/ca.pem", pem).file("/empty.pem", "")
}

#[test]
fn every_mode_of_tls_is_taken_and_an_authority_that_is_given_is_used() {
    let host = with_authority();
    for (options, expected) in [
        ("", "Prefer"),
        ("?sslmode=disable", "Disable"),
        ("?sslmode=allow", "Prefer"),
        ("?sslmode=prefer", "Prefer"),
        ("?sslmode=require", "Require"),
        ("?sslmode=verify-ca", "VerifyCa"),
        ("?sslmode=verify-full", "VerifyFull"),
        ("?sslmode=&sslrootcert=", "Prefer"),
        ("?sslmode=require&sslrootcert=/ca.pem", "VerifyCa"),
        ("?sslmode=verify-ca&sslrootcert=/ca.pem", "VerifyCa"),
        ("?sslrootcert=/ca.pem&sslmode=verify-full", "VerifyFull"),
    ] {
        assert_eq!(mode(&format!("{BASE}{options}"), &host), expected, "{options}");
    }
    for options in [
        "?sslrootcert=/ca.pem",
        "?sslmode=disable&sslrootcert=/ca.pem",
        "?sslmode=allow&sslrootcert=/ca.pem",
        "?sslmode=prefer&sslrootcert=/ca.pem",
    ] {
        let errors = errors(&format!("{BASE}{options}"), &host);
        assert!(errors[0].starts_with("`sslrootcert` is set, but"), "{errors:?}");
    }
}

#[test]
fn errors_of_tls_name_the_option_and_the_file() {
    let host = with_authority();
    for (options, expected) in [
        ("sslmode=bogus", "`sslmode` must be one of disable, allow"),
        ("sslmode=VERIFY-CA", "`sslmode` must be one of"),
        (
            "sslmode=verify-ca&sslrootcert=/gone.pem",
            "`sslrootcert`: `/gone.pem` cannot be read",
        ),
        (
            "sslmode=verify-ca&sslrootcert=/empty.pem",
            "`sslrootcert`: `/empty.pem` holds no certificate",
        ),
        (
            "sslmode=verify-full&sslrootcert=system",
            "`sslrootcert=system` is not supported",
        ),
        ("sslcert=/ca.pem", "`sslcert` is set, but `sslkey` is not"),
        (
            "sslkey=-----BEGIN%20PRIVATE",
            "`sslkey` must be the path of a file",
        ),
    ] {
        let errors = errors(&format!("{BASE}?{options}"), &host);
        assert!(
            errors.iter().any(|error| error.contains(expected)),
            "{options}: {errors:?}"
        );
    }
    let both = errors(
        &format!("{BASE}?sslmode=bogus&sslrootcert=/gone.pem&pool=5"),
        &host,
    );
    assert_eq!(both.len(), 3, "{both:?}");
}

#[test]
fn the_variables_of_libpq_count_where_the_url_sets_no_option() {
    let pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let host = FakeHost::with(&[("PGSSLMODE", "require"), ("PGSSLROOTCERT", "/ca.pem")]).file("/ca.pem", pem);
    assert_eq!(mode(BASE, &host), "VerifyCa");
    assert_eq!(mode(&format!("{BASE}?sslmode=disable"), &host), "Disable");
    let host = FakeHost::with(&[("PGSSLMODE", "bogus"), ("PGSSLROOTCERT", "/gone.pem")]);
    let errors = errors(BASE, &host);
    assert!(
        errors[0].starts_with("PGSSLMODE: `sslmode` must be"),
        "{errors:?}"
    );
    assert!(
        errors[1].starts_with("PGSSLROOTCERT: `sslrootcert`: `/gone.pem` cannot"),
        "{errors:?}"
    );
}

#[test]
fn options_that_are_not_supported_are_named_with_those_that_are() {
    let host = FakeHost::default();
    for option in [
        "keepalives=1",
        "channel_binding=require",
        "sslcrl=x",
        "gssencmode=disable",
        "pgbouncer=true",
        "schema=other",
        "pool_timeout=3",
        "sslMode=require",
        "client_encoding=latin1",
        "passfile=/x",
        "load_balance_hosts=random",
    ] {
        let name = option.split('=').next().expect("a name");
        let errors = errors(&format!("{BASE}?{option}"), &host);
        assert!(
            errors[0].contains(&format!("the option `{name}`")) && errors[0].contains("target_session_attrs"),
            "{errors:?}"
        );
    }
    assert!(read(&format!("{BASE}?passfile=/x"), Client::Backup, &host).is_ok());
}

#[test]
fn a_password_that_is_not_encoded_is_not_repeated() {
    let host = FakeHost::default();
    for url in [
        "postgres://me:1?hunter2=x@db/t",
        "postgres://me:hunter2#x@db/t",
        "postgres://me:hun/ter2@db/t",
        "postgres://db/t?hunter2!=1",
    ] {
        let errors = errors(url, &host);
        assert!(!errors.iter().any(|error| error.contains("ter2")), "{errors:?}");
    }
}

#[test]
fn options_that_sqlx_lacks_are_applied_or_must_be_of_use() {
    let host = FakeHost::default();
    let url = format!(
        "{BASE}?connect_timeout=10&target_session_attrs=read-write&application_name=mine&client_encoding=UTF8"
    );
    let url = read(&url, Client::Tasker, &host).expect("valid");
    assert_eq!(url.connect_timeout, Some(Duration::from_secs(10)));
    assert!(url.read_write && url.names_application);
    assert_eq!(url.options.get_application_name(), Some("mine"));
    let plain = read(BASE, Client::Tasker, &host).expect("valid");
    assert!(!plain.read_write && !plain.names_application && plain.connect_timeout.is_none());
    for (option, expected) in [
        ("connect_timeout=0", "`connect_timeout` must be"),
        ("connect_timeout=-1", "`connect_timeout` must be"),
        ("connect_timeout=5s", "`connect_timeout` must be"),
        ("target_session_attrs=standby", "`target_session_attrs` must be"),
        ("port=many", "`port` and"),
        ("hostaddr=db", "`hostaddr` must be"),
    ] {
        let errors = errors(&format!("{BASE}?{option}"), &host);
        assert!(errors[0].contains(expected), "{option}: {errors:?}");
    }
}

#[test]
fn an_address_of_ipv6_loses_its_brackets_and_a_socket_stays() {
    let host = FakeHost::default();
    for url in [
        "postgres://u@[::1]:5432/db",
        "postgres:///db?host=::1",
        "postgres:///db?host=[::1]",
        "postgres:///db?hostaddr=::1",
    ] {
        let url = read(url, Client::Tasker, &host).expect("valid");
        assert_eq!(url.options.get_host(), "::1");
    }
    for url in [
        "postgres:///db?host=/run/postgresql",
        "postgres://u@%2Frun%2Fpostgresql/db",
    ] {
        let url = read(url, Client::Tasker, &host).expect("valid");
        let socket = url.options.get_socket().expect("a socket");
        assert!(socket.starts_with("/run/postgresql"), "{}", socket.display());
    }
}

#[test]
fn several_hosts_are_rejected() {
    let host = FakeHost::default();
    for url in [
        "postgres://me:x@one,two/t",
        "postgres://one:5432,two:5433/t",
        "postgres://me:x@[::1],[::2]/t",
        "postgres:///t?host=one,two",
        "postgres:///t?host=one&port=1,2",
        "postgres://me@one%2Ctwo/t",
    ] {
        let errors = errors(url, &host);
        assert!(errors[0].contains("names several hosts"), "{url}: {errors:?}");
    }
    assert!(read("postgres://me:a,b@one/t", Client::Tasker, &host).is_ok());
}
