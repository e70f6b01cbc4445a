//! A definition as a flowchart of Mermaid, which Markdown pages draw.

use std::fmt::Write as _;

use crate::definition::Definition;
use crate::edge::EdgePolicy;
use crate::plan::Plan;

/// Returns a flowchart. Nodes are named by index, since names of steps may be keywords of Mermaid.
pub fn mermaid(definition: &Definition) -> String {
    let plan = Plan::of(definition);
    let mut chart = "flowchart TD\n".to_owned();
    // writing to a `String` never fails
    for (index, step) in definition.steps.iter().enumerate() {
        let label = if step.run == step.name {
            step.name.clone()
        } else {
            format!("{}<br/>{}", step.name, escaped(&step.run))
        };
        let _ = writeln!(chart, "    s{index}[\"{label}\"]");
    }
    for (child, step) in plan.steps.iter().enumerate() {
        for (parent, policy) in &step.parents {
            let arrow = match policy {
                EdgePolicy::Fail => "-->".to_owned(),
                policy => format!("-. {policy} .->"),
            };
            let _ = writeln!(chart, "    s{parent} {arrow} s{child}");
        }
    }
    chart
}

/// Escapes what has a meaning in a quoted label; names of task types are free text.
fn escaped(text: &str) -> String {
    let mut label = String::new();
    for c in text.chars() {
        match c {
            '"' | '#' | '&' | '<' | '>' | ';' | '`' | '\\' => {
                let _ = write!(label, "#{};", u32::from(c));
            }
            c => label.push(c),
        }
    }
    label
}

#[cfg(test)]
mod tests {
    use crate::read::{ReadOptions, from_yaml};

    use super::*;

    #[test]
    fn nodes_edges_and_policies_are_drawn_and_labels_are_escaped() {
        let yaml = "
name: order
steps:
  - {name: end, run: end}
  - {name: mail, run: 'say \"hi\"', needs: [{step: end, on_failure: only}]}
  - {name: log, run: log, needs: [end]}
";
        let checked = from_yaml(yaml, ReadOptions::default()).expect("valid");
        let expected = "\
flowchart TD
    s0[\"end\"]
    s1[\"mail<br/>say #34;hi#34;\"]
    s2[\"log\"]
    s0 -. only .-> s1
    s0 --> s2
";
        assert_eq!(mermaid(&checked.definition), expected);
    }
}
