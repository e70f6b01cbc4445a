//! `Retry-After` (RFC 9110, 10.2.3): seconds, or a date. Pure, except for the clock if the server sends no
//! `Date`.

use std::time::{Duration, SystemTime};

use reqwest::header::{DATE, HeaderMap, HeaderName, RETRY_AFTER};

/// The maximum delay; a longer one is cut to it.
pub(super) const RETRY_AFTER_MAX: Duration = Duration::from_hours(1);

/// Returns the delay that the server asks for. `None` without the header, and if its value is neither seconds
/// nor a future date: the usual backoff then applies.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = text(headers, &RETRY_AFTER)?;
    let asked = if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        // digits that overflow the number mean a long delay too
        text.parse().map_or(RETRY_AFTER_MAX, Duration::from_secs)
    } else {
        let until = httpdate::parse_http_date(text).ok()?;
        // relative to the server's own clock, so that a clock difference does not matter
        let now = text_date(headers).unwrap_or_else(now);
        until.duration_since(now).ok().filter(|ahead| !ahead.is_zero())?
    };
    Some(asked.min(RETRY_AFTER_MAX))
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    Some(headers.get(name)?.to_str().ok()?.trim())
}

fn text_date(headers: &HeaderMap) -> Option<SystemTime> {
    httpdate::parse_http_date(text(headers, &DATE)?).ok()
}

#[expect(
    clippy::disallowed_methods,
    reason = "a date of another server, which has nothing to do with the times of Postgres"
)]
fn now() -> SystemTime {
    SystemTime::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(retry_after_text: &str, date: Option<&str>) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, retry_after_text.parse().expect("a value"));
        if let Some(date) = date {
            headers.insert(DATE, date.parse().expect("a value"));
        }
        retry_after(&headers)
    }

    #[test]
    fn a_server_may_say_when_to_come_back_but_not_next_week() {
        assert_eq!(asked("7", None), Some(Duration::from_secs(7)));
        assert_eq!(asked(" 0 ", None), Some(Duration::ZERO));
        for long in ["604800", "99999999999999999999999999"] {
            assert_eq!(asked(long, None), Some(RETRY_AFTER_MAX), "{long}");
        }
    }

    #[test]
    fn a_date_counts_from_the_time_of_the_server_in_each_of_its_forms() {
        let date = Some("Wed, 21 Oct 2015 07:28:00 GMT");
        for until in [
            "Wed, 21 Oct 2015 07:28:30 GMT",
            "Wednesday, 21-Oct-15 07:28:30 GMT",
            "Wed Oct 21 07:28:30 2015",
        ] {
            assert_eq!(asked(until, date), Some(Duration::from_secs(30)), "{until}");
        }
        assert_eq!(
            asked("Thu, 21 Oct 2027 07:28:30 GMT", date),
            Some(RETRY_AFTER_MAX)
        );
    }

    #[test]
    fn without_a_time_of_the_server_the_own_clock_counts() {
        let until = httpdate::fmt_http_date(now() + Duration::from_secs(100));
        for date in [None, Some("yesterday")] {
            let asked = asked(&until, date).expect("a date ahead");
            assert!((95..=100).contains(&asked.as_secs()), "{asked:?}");
        }
    }

    #[test]
    fn a_date_behind_and_what_is_neither_leave_the_usual_backoff() {
        let date = Some("Wed, 21 Oct 2015 07:28:00 GMT");
        for text in [
            "Wed, 21 Oct 2015 07:27:00 GMT",
            "-5",
            "1.5",
            "+7",
            "",
            "soon",
            "7 seconds",
            "2015-10-21T07:28:30Z",
        ] {
            assert_eq!(asked(text, date), None, "{text}");
        }
    }
}
