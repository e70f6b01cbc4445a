use super::pointer::{POINTER_CHARS_MAX, cut};
use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

const UNIQUE: Limits = Limits {
    depth_max: 128,
    unique_keys: true,
};

fn error(text: &str) -> (JsonErrorKind, String) {
    let error = check(text.as_bytes(), Limits::default()).expect_err(text);
    (error.kind, error.pointer)
}

#[test]
fn each_kind_of_error_is_found_at_its_place() {
    use JsonErrorKind::{FloatRange, IntegerRange, LoneSurrogate, Nul};
    for (text, kind, pointer) in [
        (r#"{"a":{"b":["x","\u0000"]}}"#, Nul, "/a/b/1"),
        ("{\"a\":\"x\0\"}", Nul, "/a"),
        (r#"{"a":1,"b":"\ud800"}"#, LoneSurrogate, "/b"),
        (r#"["\udc00\ud800"]"#, LoneSurrogate, "/0"),
        (r#"["\ud800\ud800"]"#, LoneSurrogate, "/0"),
        (
            r#"{"a/b~c":[0,18446744073709551616]}"#,
            IntegerRange,
            "/a~1b~0c/1",
        ),
        ("-9223372036854775809", IntegerRange, ""),
        (r#"{"x":[[],{},1e400]}"#, FloatRange, "/x/2"),
        ("[-1.5E999]", FloatRange, "/0"),
        (r#"{"a":{"k\u0000":1}}"#, Nul, "/a"),
        (r#"{"\u00e4":"\u0000"}"#, Nul, "/ä"),
    ] {
        assert_eq!(error(text), (kind, pointer.to_owned()), "{text}");
    }
}

#[test]
fn a_valid_text_passes() {
    for text in [
        r#"{"a":"\ud83d\ude00 \\u0000 \" ","b":[18446744073709551615,-9223372036854775808]}"#,
        "[1.7976931348623157e308, 1e-999, -0, 0.1]",
        "",
        "null",
    ] {
        assert_eq!(check(text.as_bytes(), Limits::default()), Ok(()), "{text}");
    }
}

#[test]
fn nesting_is_allowed_up_to_the_limit() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(check(nested(128).as_bytes(), Limits::default()), Ok(()));
    assert_eq!(error(&nested(129)).0, JsonErrorKind::TooDeep);
    assert_eq!(error(&nested(10_000)).1, cut("/0".repeat(128)));
    let siblings = format!("[{}]", ["[]"; 500].join(","));
    assert_eq!(check(siblings.as_bytes(), Limits::default()), Ok(()));
}

#[test]
fn a_long_pointer_is_cut_and_says_so() {
    let text = format!("{{\"{}\":\"\\u0000\"}}", "ä".repeat(1_000));
    let (_, pointer) = error(&text);
    assert_eq!(pointer.chars().count(), POINTER_CHARS_MAX + 1);
    assert!(pointer.ends_with('…'));
}

#[test]
fn a_key_that_appears_twice_is_found_however_it_is_written() {
    let doubled = |text: &str| {
        let found = errors(text.as_bytes(), UNIQUE);
        found
            .into_iter()
            .map(|error| (error.kind, error.pointer))
            .collect::<Vec<_>>()
    };
    let at = |pointer: &str| vec![(JsonErrorKind::DoubledKey, pointer.to_owned())];
    let many: Vec<String> = (0..100).map(|n| format!("\"k{}\":1", n % 99)).collect();
    for (text, pointer) in [
        (r#"{"a":1,"a":1}"#, "/a"),
        (r#"{"a":{"b":[{"c":1,"d":[],"c":{}}]},"z":1}"#, "/a/b/0/c"),
        (r#"{"a":1,"\u0061":2}"#, "/a"),
        (r#"{"x":{"":1,"":1}}"#, "/x/"),
        (&format!("[{{{}}}]", many.join(",")), "/0/k0"),
    ] {
        assert_eq!(doubled(text), at(pointer), "{text}");
        assert_eq!(check(text.as_bytes(), Limits::default()), Ok(()), "{text}");
    }
    for text in [
        r#"{"a":{"a":{"a":1}},"b":["a","a",{"a":1}]}"#,
        r#"[{"a":1},{"a":1}]"#,
        r#"{"a":"b","b":"a","A":1,"\\u0061":1}"#,
    ] {
        assert_eq!(doubled(text), [], "{text}");
    }
}

#[test]
fn all_errors_are_found_in_their_order_up_to_a_limit() {
    let text = r#"{"a":{"n":1e999,"n":2},"b":["\ud800",99999999999999999999]}"#;
    let found = errors(text.as_bytes(), UNIQUE);
    let pointers: Vec<&str> = found.iter().map(|error| error.pointer.as_str()).collect();
    assert_eq!(pointers, ["/a/n", "/a/n", "/b/0", "/b/1"]);
    let many = format!("[{}]", ["1e999"; 100].join(","));
    assert_eq!(errors(many.as_bytes(), UNIQUE).len(), ERRORS_MAX);
}

#[test]
fn the_canonical_form_ignores_order_and_notation() {
    let one = r#" { "b" : [1.0, 2.50, -0.0, 1e2,0.1e1], "a": {"y":null,"x": "\u00e4\"\n"}, "c":[ ] ,"d":{}}"#;
    assert_eq!(
        canonical(one),
        r#"{"a":{"x":"ä\"\n","y":null},"b":[1,2.5,0,100,1],"c":[],"d":{}}"#
    );
    assert_eq!(canonical("[{},[],1e300]"), "[{},[],1e+300]");
    assert_eq!(
        canonical(r#"{"\u0062":1,"a":true}"#),
        canonical(r#"{"a":true,"b":1.0}"#)
    );
}

#[test]
fn the_canonical_form_tells_apart_what_one_double_stands_for() {
    for (one, other) in [
        ("0.1", "0.1000000000000000055511151231257827"),
        ("18446744073709551615", "18446744073709551614"),
        ("9007199254740993.0", "9007199254740992.0"),
        ("1e-999", "0"),
        ("1e-999", "1e-998"),
        (r#"{"a":1,"a":2}"#, r#"{"a":2}"#),
        (r#"{"a":1,"a":2}"#, r#"{"a":2,"a":1}"#),
        ("-1.5", "1.5"),
    ] {
        assert_ne!(canonical(one), canonical(other), "{one} {other}");
    }
    for (one, other) in [
        ("0.12345678901234567890", "1.234567890123456789e-1"),
        ("9007199254740993.0", "9007199254740993"),
        ("1E2", "100"),
        ("-0", "0.000"),
        ("1e-999", "10e-1000"),
    ] {
        assert_eq!(canonical(one), canonical(other), "{one} {other}");
    }
}

#[test]
fn a_text_that_is_not_json_is_its_own_canonical_form() {
    for text in [
        "",
        "{",
        "[1,]x",
        "nope",
        "1 2",
        "{\"a\"}",
        "\"a",
        &"[".repeat(10_000),
    ] {
        assert_eq!(canonical(text), text);
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        // Dyadic, so that reading them back is exact with any parser.
        any::<i32>().prop_map(|n| Value::from(f64::from(n) / 64.0)),
        "[^\u{0}]*".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::hash_map("[^\u{0}]{0,8}", inner, 0..8)
                .prop_map(|map| map.into_iter().collect::<Value>()),
        ]
    })
}

proptest! {
    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = check(&bytes, Limits::default());
    }

    #[test]
    fn any_json_like_text_is_answered(text in r#"([\[\]{},:"]|\\|\\u|d8|00|-|1e9|[0-9a-f])*"#) {
        let _ = check(text.as_bytes(), Limits { depth_max: 3, unique_keys: true });
    }

    #[test]
    fn a_value_without_errors_passes(value in any_value()) {
        prop_assert_eq!(check(value.to_string().as_bytes(), Limits::default()), Ok(()));
    }

    #[test]
    fn an_error_behind_any_value_is_pointed_at(value in any_value(), key in "[^\u{0}]{0,8}") {
        let whole = json!([value, {"k": {key: ["\u{0}"]}}]);
        let found = check(whole.to_string().as_bytes(), UNIQUE);
        let error = found.expect_err("a NUL");
        prop_assert_eq!(error.kind, JsonErrorKind::Nul);
        prop_assert_eq!(whole.pointer(&error.pointer), Some(&json!("\u{0}")));
    }

    #[test]
    fn a_value_has_one_canonical_form(value in any_value()) {
        let text = canonical(&value.to_string());
        prop_assert_eq!(&canonical(&text), &text);
        prop_assert_eq!(&canonical(&serde_json::to_string_pretty(&value).expect("JSON")), &text);
    }

    #[test]
    fn any_json_like_text_has_a_canonical_form(text in r#"([\[\]{},:"]|\\|\\u|d8|00|-|1e9|[0-9a-f])*"#) {
        let _ = canonical(&text);
    }
}
