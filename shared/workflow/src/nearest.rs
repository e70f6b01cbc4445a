//! The known name that a misspelt one probably means.

/// The similarity from which on a name is suggested, from 0 to 1.
const SIMILARITY_MIN: f64 = 0.75;
/// The maximum number of characters that are compared.
const CHARS_MAX: usize = 64;
/// The maximum number of names that a message lists.
const LISTED_MAX: usize = 12;

/// Returns "did you mean `x`?" for the name most similar to `name`, or a list of the first known names.
pub(crate) fn did_you_mean<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let plain = |text: &str| -> String {
        // the comparison takes time in proportion to the product of the lengths
        text.chars()
            .take(CHARS_MAX)
            .collect::<String>()
            .to_lowercase()
            .replace('-', "_")
    };
    let known: Vec<&str> = known.into_iter().collect();
    let name = plain(name);
    let nearest = known
        .iter()
        .map(|other| (strsim::jaro_winkler(&name, &plain(other)), *other))
        .filter(|(alike, _)| *alike >= SIMILARITY_MIN)
        .max_by(|(a, _), (b, _)| a.total_cmp(b));
    if let Some((_, nearest)) = nearest {
        return format!("did you mean `{nearest}`?");
    }
    let more = if known.len() > LISTED_MAX { ", …" } else { "" };
    let listed: Vec<&str> = known.into_iter().take(LISTED_MAX).collect();
    format!("known: {}{more}", listed.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_name_is_answered_with_the_nearest_and_a_strange_one_with_the_list() {
        let known = ["needs", "run", "with"];
        assert_eq!(did_you_mean("need", known), "did you mean `needs`?");
        assert_eq!(did_you_mean("WITH", known), "did you mean `with`?");
        assert_eq!(did_you_mean("zzz", known), "known: needs, run, with");
        let many: Vec<String> = (0..20).map(|n| format!("step_{n}")).collect();
        let listed = did_you_mean("zzz", many.iter().map(String::as_str));
        assert!(listed.ends_with("step_11, …"), "{listed}");
    }
}
