//! The meaning of plain scalars by the core schema of YAML 1.2, narrowed to JSON: `NO` is a text and not
//! `false`, and digits with a leading zero are a text, since they are postal codes more often than numbers.

use super::Value;

/// Returns the value of a plain scalar; `Err` for infinity and "not a number", which JSON has not.
pub(super) fn resolve(text: &str) -> Result<Value, ()> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Value::Null),
        "true" | "True" | "TRUE" => return Ok(Value::Bool(true)),
        "false" | "False" | "FALSE" => return Ok(Value::Bool(false)),
        _ => {}
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return Err(());
    }
    Ok(number(text).map_or_else(|| Value::Text(text.to_owned()), Value::Number))
}

/// Returns a number in the notation of JSON, which is its own wherever that is JSON already.
fn number(text: &str) -> Option<String> {
    for (prefix, radix) in [("0x", 16), ("0o", 8)] {
        if let Some(digits) = text.strip_prefix(prefix) {
            // `from_str_radix` accepts a sign
            let signed = digits.starts_with(['+', '-']);
            let value = u64::from_str_radix(digits, radix).ok().filter(|_| !signed)?;
            return Some(value.to_string());
        }
    }
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (rest, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let exponent_ok = exponent.is_none_or(|exponent| {
        let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        !digits.is_empty() && all_digits(digits)
    });
    let has_digits = !whole.is_empty() || fraction.is_some_and(|fraction| !fraction.is_empty());
    let leading_zero = whole.len() > 1 && whole.starts_with('0');
    let digits_ok = all_digits(whole) && fraction.is_none_or(all_digits);
    if !(exponent_ok && has_digits && digits_ok) || leading_zero {
        return None;
    }
    let whole = if whole.is_empty() { "0" } else { whole };
    let fraction = fraction.map(|fraction| {
        let digits = if fraction.is_empty() { "0" } else { fraction };
        format!(".{digits}")
    });
    let exponent = exponent.map(|exponent| format!("e{exponent}"));
    Some(format!(
        "{sign}{whole}{}{}",
        fraction.unwrap_or_default(),
        exponent.unwrap_or_default()
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_and_numbers_that_older_yaml_takes_for_something_else_stay_text() {
        for text in [
            "NO", "yes", "on", "01234", "1_000", "1.2.3", "-", "+", ".", "e5", "1e", "0x", "0x+1", "1:30",
            "tRuE", "-x",
        ] {
            assert_eq!(resolve(text), Ok(Value::Text(text.to_owned())));
        }
    }

    #[test]
    fn numbers_keep_their_digits_and_become_json() {
        for (text, number) in [
            ("0", "0"),
            ("1.10", "1.10"),
            ("-7", "-7"),
            ("123456789012345678901.50", "123456789012345678901.50"),
            ("+5", "5"),
            (".5", "0.5"),
            ("-1.", "-1.0"),
            ("1E+5", "1e+5"),
            ("0x1F", "31"),
            ("0o17", "15"),
        ] {
            assert_eq!(resolve(text), Ok(Value::Number(number.to_owned())), "{text}");
        }
    }

    #[test]
    fn nulls_booleans_and_values_that_json_has_not_are_recognised() {
        assert_eq!(resolve("~"), Ok(Value::Null));
        assert_eq!(resolve(""), Ok(Value::Null));
        assert_eq!(resolve("True"), Ok(Value::Bool(true)));
        assert_eq!(resolve("-.inf"), Err(()));
        assert_eq!(resolve(".NaN"), Err(()));
    }

    proptest! {
        #[test]
        fn every_number_is_valid_json(text in "[-+.0-9eEx]{1,12}") {
            if let Ok(Value::Number(number)) = resolve(&text) {
                prop_assert!(serde_json::from_str::<&serde_json::value::RawValue>(&number).is_ok(), "{}", number);
            }
        }
    }
}
