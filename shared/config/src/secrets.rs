//! Checks for passwords and secrets that are too easy to guess for production. Pure.

use std::collections::BTreeSet;

/// Minimum length of a password in production, in characters.
const PASSWORD_CHARS_MIN: usize = 12;
/// Minimum length of a key for HMAC-SHA-256 by RFC 7518, in bytes.
const SECRET_BYTES_MIN: usize = 32;
/// Minimum number of distinct characters of a token secret in production; 64 random hex digits have about 16.
const SECRET_VARIETY_MIN: usize = 10;

const SAMPLE: &str = "is a sample value or only digits";
const MAKES_A_SECRET: &str = "`openssl rand -base64 32` makes one";

/// Words of sample values and templates. A secret that consists only of them and of digits is a sample.
const SAMPLE_WORDS: [&str; 54] = [
    "a",
    "abc",
    "admin",
    "an",
    "api",
    "at",
    "backend",
    "bytes",
    "change",
    "changeme",
    "characters",
    "default",
    "demo",
    "dev",
    "development",
    "dummy",
    "example",
    "execution",
    "for",
    "foobar",
    "here",
    "in",
    "insecure",
    "it",
    "key",
    "least",
    "letmein",
    "local",
    "long",
    "me",
    "my",
    "not",
    "of",
    "only",
    "password",
    "placeholder",
    "please",
    "postgres",
    "production",
    "qwerty",
    "random",
    "redis",
    "refuses",
    "replace",
    "sample",
    "secret",
    "set",
    "tasker",
    "test",
    "that",
    "this",
    "token",
    "with",
    "your",
];

/// Returns the reason why the password of `user` is easy to guess, if it is.
pub(super) fn weak_password(password: &str, user: &str) -> Option<String> {
    if password.chars().count() < PASSWORD_CHARS_MIN {
        return Some(format!(
            "is too short: production requires at least {PASSWORD_CHARS_MIN} characters"
        ));
    }
    if is_sample(password) {
        return Some(SAMPLE.to_owned());
    }
    is_easy_to_guess(password, user).then(|| {
        "is easy to guess: it is common, or follows a pattern; `openssl rand -base64 18` makes one".to_owned()
    })
}

#[cfg(feature = "password-strength")]
fn is_easy_to_guess(password: &str, user: &str) -> bool {
    // below three it can be guessed online against a server without a rate limit
    zxcvbn::zxcvbn(password, &[user, "tasker"]).score() < zxcvbn::Score::Three
}

/// Counts every password as easy to guess: a build without the estimate must not accept a weak one.
#[cfg(not(feature = "password-strength"))]
fn is_easy_to_guess(_password: &str, _user: &str) -> bool {
    true
}

/// Returns the reason why a token secret is easy to guess, if it is.
pub(super) fn weak_secret(secret: &str) -> Option<String> {
    if secret.len() < SECRET_BYTES_MIN {
        return Some(format!(
            "is too short: production requires at least {SECRET_BYTES_MIN} bytes; {MAKES_A_SECRET}"
        ));
    }
    if is_sample(secret) {
        return Some(SAMPLE.to_owned());
    }
    let variety = secret.chars().collect::<BTreeSet<_>>().len();
    if variety < SECRET_VARIETY_MIN {
        return Some(format!(
            "has only {variety} different characters; production requires at least {SECRET_VARIETY_MIN}"
        ));
    }
    (repeats_itself(secret.as_bytes()) || is_counted_out(secret.as_bytes()))
        .then(|| format!("follows a pattern, such as 0123 or one text twice; {MAKES_A_SECRET}"))
}

/// Returns whether a text is a repetition of one at most half as long.
fn repeats_itself(text: &[u8]) -> bool {
    (1..=text.len() / 2).any(|period| text[period..] == text[..text.len() - period])
}

/// Returns whether a text consists of few sequences that rise or fall by one or stay: `0123`, `cba`, `xxxx`.
/// At most half as many sequences as characters are few: 32 random hex digits have about 27.
fn is_counted_out(text: &[u8]) -> bool {
    let (mut runs, mut step, mut last) = (0, None, None);
    for &byte in text {
        let next = last.map(|last| i16::from(byte) - i16::from(last));
        if next.is_some_and(|next| next.abs() <= 1 && step.is_none_or(|step| step == next)) {
            step = next;
        } else {
            (runs, step) = (runs + 1, None);
        }
        last = Some(byte);
    }
    runs * 2 <= text.len()
}

/// Returns whether a text consists only of sample words and digits, with any separators:
/// `change-me-please-123`.
pub(super) fn is_sample(text: &str) -> bool {
    let letters: String = text.chars().filter(|c| c.is_alphabetic()).collect();
    let letters = letters.to_lowercase();
    let bytes = letters.as_bytes();
    // made[n]: the first n bytes are a sequence of words. Every split is tried, since one word may begin
    // another.
    let mut made = vec![false; bytes.len() + 1];
    made[0] = true;
    for end in 1..=bytes.len() {
        made[end] = SAMPLE_WORDS.iter().any(|word| {
            end.checked_sub(word.len())
                .is_some_and(|start| made[start] && &bytes[start..end] == word.as_bytes())
        });
    }
    made[bytes.len()]
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn samples_are_distinguished_from_secrets() {
        for sample in [
            "changeme",
            "Change-Me-Please-123",
            "your_secret_token_here",
            "<replace-this-with-a-long-random-secret>",
            "tasker-development-only-password",
            "1234567890123",
        ] {
            assert!(is_sample(sample), "{sample}");
        }
        for secret in ["correct horse battery staple", "hGq3-Zt9x.Wd7LmPk", "tasker-7fQz"] {
            assert!(!is_sample(secret), "{secret}");
        }
    }

    #[test]
    fn a_password_that_can_be_guessed_is_weak() {
        assert!(weak_password("kV8.mq2Zr-w", "ops").is_some_and(|text| text.contains("12 characters")));
        for password in [
            "P@ssw0rd1234",
            "zqzqzqzqzqzqzqzq",
            "Welcome12345!",
            "abcdefghijkl",
            "qwertyuiop[]",
            "kV8.mq2Z.ops",
        ] {
            let user = if password.ends_with("ops") {
                password
            } else {
                "ops"
            };
            assert!(weak_password(password, user).is_some(), "{password}");
        }
        for password in [
            "kV8.mq2Zr-w7",
            "stuffy-purple-anvil-crouton",
            "correct horse battery staple",
            "h3Jx0pQd8sYbTzLw",
            "9f86d081884c7d65",
        ] {
            assert_eq!(weak_password(password, "ops"), None, "{password}");
        }
    }

    #[test]
    fn a_secret_that_follows_a_pattern_is_weak() {
        assert!(weak_secret("0123456789abcdef0123456789abcde").is_some_and(|text| text.contains("32 bytes")));
        assert!(weak_secret(&"zq".repeat(16)).is_some_and(|text| text.contains("different")));
        for secret in [
            "0123456789abcdef0123456789abcdef",
            "fedcba9876543210fedcba9876543210",
            "fedcba9876543210ZYXWVUTSRQPONMLK",
            "00112233445566778899aabbccddeeff",
            "aaaabbbbccccddddeeeeffff0000111122223333",
            "abcdefghijklmnopqrstuvwxyz0123456789",
            "kR3Zt9x2Wd7LkR3Zt9x2Wd7LkR3Zt9x2Wd7L",
            "kR3Zt9x2Wd7LmPkQkR3Zt9x2Wd7LmPkQkR3Z",
        ] {
            assert!(
                weak_secret(secret).is_some_and(|text| text.contains("pattern")),
                "{secret}"
            );
        }
    }

    #[test]
    fn an_honest_secret_is_taken() {
        for secret in [
            "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "d0c1f1b8e3f94a6bb07d2f3c9be845aa",
            "n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=",
            "stuffy purple anvil crouton wobble marigold",
            "cleft-cam-synod-lacy-yr-wok-rally",
        ] {
            assert_eq!(weak_secret(secret), None, "{secret}");
        }
    }

    proptest! {
        #[test]
        fn random_secrets_are_taken(high in any::<u128>(), low in any::<u128>()) {
            let hex = format!("{high:032x}{low:032x}");
            let base64 = STANDARD.encode([high.to_be_bytes(), low.to_be_bytes()].concat());
            prop_assert!(!repeats_itself(hex.as_bytes()) && !is_counted_out(hex.as_bytes()), "{}", hex);
            prop_assert!(!repeats_itself(base64.as_bytes()) && !is_counted_out(base64.as_bytes()), "{}", base64);
        }
    }
}
