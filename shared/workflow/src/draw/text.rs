//! A definition as text: its steps by level, each with the steps before it.

use std::fmt::Write as _;

use crate::definition::{Definition, Step};
use crate::edge::EdgePolicy;
use crate::plan::Plan;

/// Returns a drawing of a definition, a step per line:
///
/// ```text
/// fulfillment/order 1.0.0: 4 steps, 3 levels
/// 1  check    check_inventory
/// 2  pay      process_payment  <- check
///    reserve  reserve_stock    <- check
/// 3  ship     ship_order       <- reserve, pay (on failure: skip)
/// ```
pub fn text(definition: &Definition) -> String {
    let plan = Plan::of(definition);
    let steps = definition.steps.len();
    let mut drawing = format!(
        "{}/{} {}: {}, {}\n",
        definition.namespace,
        definition.name,
        definition.version,
        counted(steps, "step"),
        counted(plan.levels, "level"),
    );
    let width = |of: fn(&Step) -> &str| {
        let widths = definition.steps.iter().map(|step| of(step).chars().count());
        widths.max().unwrap_or(0)
    };
    let (name_width, run_width) = (width(|step| &step.name), width(|step| &step.run));
    let level_width = plan.levels.to_string().len();
    let mut last = None;
    for index in &plan.order {
        let step = &definition.steps[*index];
        let level = plan.steps[*index].level;
        let number = if last == Some(level) {
            String::new()
        } else {
            (level + 1).to_string()
        };
        last = Some(level);
        let line = format!(
            "{number:level_width$}  {:name_width$}  {:run_width$}  {}",
            step.name,
            step.run,
            before(step)
        );
        // writing to a `String` never fails
        let _ = writeln!(drawing, "{}", line.trim_end());
    }
    drawing
}

fn before(step: &Step) -> String {
    let names: Vec<String> = step
        .needs
        .iter()
        .map(|edge| match edge.on_failure {
            EdgePolicy::Fail => edge.step.clone(),
            policy => format!("{} (on failure: {policy})", edge.step),
        })
        .collect();
    if names.is_empty() {
        String::new()
    } else {
        format!("<- {}", names.join(", "))
    }
}

fn counted(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

#[cfg(test)]
mod tests {
    use crate::read::{ReadOptions, from_yaml};

    use super::*;

    #[test]
    fn steps_stand_by_level_with_the_steps_before_them() {
        let yaml = "
name: order
namespace: fulfillment
steps:
  - {name: ship, run: ship_order, needs: [reserve, {step: pay, on_failure: skip}]}
  - {name: check, run: check_inventory}
  - {name: reserve, run: reserve_stock, needs: [check]}
  - {name: pay, run: process_payment, needs: [check]}
";
        let checked = from_yaml(yaml, ReadOptions::default()).expect("valid");
        let expected = "\
fulfillment/order 1.0.0: 4 steps, 3 levels
1  check    check_inventory
2  reserve  reserve_stock    <- check
   pay      process_payment  <- check
3  ship     ship_order       <- reserve, pay (on failure: skip)
";
        assert_eq!(text(&checked.definition), expected);
    }
}
