//! Names similar to a misspelled one, for error texts.

/// The maximum length of a name that is compared with others, in characters.
const NAME_CHARS_MAX: usize = 64;
/// The similarity (Jaro-Winkler) from which one name is treated as a misspelling of another.
const SIMILARITY_MIN: f64 = 0.8;
/// The minimum length of a part of a name that is treated as the name.
const PART_CHARS_MIN: usize = 3;

/// Returns `known` sorted by similarity to `name`, the most similar first; names without similarity keep
/// their order.
pub fn nearest_first<'a>(name: &str, known: &[&'a str]) -> Vec<&'a str> {
    let mut ranked: Vec<(f64, &str)> = known
        .iter()
        .map(|other| (similarity(name, other), *other))
        .collect();
    ranked.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    ranked.into_iter().map(|(_, other)| other).collect()
}

/// Returns a "did you mean" for the name in `known` most similar to `name`, or the list of all known names.
pub fn did_you_mean(name: &str, known: &[&str]) -> String {
    match nearest_first(name, known).first() {
        Some(nearest) if similarity(name, nearest) > 0.0 => format!("did you mean `{nearest}`?"),
        _ => format!("known: {}", known.join(", ")),
    }
}

/// Returns the similarity of two names, 0 to 1; 0 below `SIMILARITY_MIN`.
fn similarity(name: &str, known: &str) -> f64 {
    // the comparison takes time in proportion to the product of the lengths, and the client chooses the name
    let name: String = name.chars().take(NAME_CHARS_MAX).collect();
    let name = name.to_lowercase().replace('-', "_");
    let known = known.to_lowercase();
    if name == known {
        return 1.0;
    }
    // `params` for `parameters`, `retries` for `max_retries`
    let parts = name.len() >= PART_CHARS_MIN && (known.contains(&name) || name.contains(&known));
    let alike = strsim::jaro_winkler(&name, &known);
    match (alike, parts) {
        (alike, true) => alike.max(SIMILARITY_MIN),
        (alike, false) if alike >= SIMILARITY_MIN => alike,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_and_parts_of_names_are_understood() {
        let known = [
            "task_name",
            "parameters",
            "priority",
            "queue",
            "run_at",
            "max_retries",
            "tags",
        ];
        for (name, meant) in [
            ("prioritty", "priority"),
            ("Priority", "priority"),
            ("taskName", "task_name"),
            ("params", "parameters"),
            ("retries", "max_retries"),
            ("name", "task_name"),
            ("que", "queue"),
            ("max-retries", "max_retries"),
            ("runat", "run_at"),
            ("tag", "tags"),
        ] {
            assert_eq!(did_you_mean(name, &known), format!("did you mean `{meant}`?"));
        }
        assert!(did_you_mean("zzz", &known).starts_with("known: task_name, parameters"));
        assert_eq!(nearest_first("tag", &known)[0], "tags");
        assert_eq!(nearest_first("", &known), known);
    }
}
