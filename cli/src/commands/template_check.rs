//! `tasker template check` and `tasker template graph`: definitions in files, without a server.

use std::process::ExitCode;

use clap::ValueEnum;
use serde::Serialize;
use tasker_workflow::plan::Plan;
use tasker_workflow::{Definition, draw};

use super::definition_file::{self, DefinitionFile, Finding};
use crate::output::{Output, print_line, progress};

/// The format of a drawing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum GraphFormat {
    /// One line a step, by level.
    Text,
    /// A Mermaid flowchart, for Markdown.
    Mermaid,
}

/// A graph as JSON, in the form of the API.
#[derive(Debug, Serialize)]
struct Graph<'a> {
    nodes: Vec<Node<'a>>,
    edges: Vec<GraphEdge<'a>>,
}

#[derive(Debug, Serialize)]
struct Node<'a> {
    name: &'a str,
    level: usize,
}

#[derive(Debug, Serialize)]
struct GraphEdge<'a> {
    from: &'a str,
    to: &'a str,
    on_failure: &'static str,
}

/// Prints everything that is wrong with the files, and the numbers of errors and warnings.
pub(super) fn check(files: &[DefinitionFile], output: Output) -> anyhow::Result<ExitCode> {
    let findings: Vec<Finding> = files.iter().flat_map(findings).collect();
    if output.is_json() {
        print_line(&serde_json::to_string(&findings)?)?;
    } else {
        for finding in &findings {
            print_line(&finding.to_string())?;
        }
    }
    let errors = findings.iter().filter(|finding| finding.is_error()).count();
    progress(&summary(files.len(), errors, findings.len() - errors));
    Ok(if errors == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn findings(file: &DefinitionFile) -> Vec<Finding> {
    match file.read() {
        Ok(text) => definition_file::check(file.name(), &text, &[]).1,
        Err(error) => vec![Finding::unreadable(file.name(), &error)],
    }
}

fn summary(files: usize, errors: usize, warnings: usize) -> String {
    let counted = |count: usize, noun: &str| match count {
        1 => format!("1 {noun}"),
        _ => format!("{count} {noun}s"),
    };
    format!(
        "{}: {}, {}",
        counted(files, "file"),
        counted(errors, "error"),
        counted(warnings, "warning")
    )
}

/// Prints a drawing of the definition in `file`.
pub(super) fn graph(file: &DefinitionFile, format: GraphFormat, output: Output) -> anyhow::Result<ExitCode> {
    let (definition, findings) = definition_file::check(file.name(), &file.read()?, &[]);
    definition_file::report(&findings);
    let Some(definition) = definition else {
        return Ok(ExitCode::FAILURE);
    };
    let drawing = match format {
        _ if output.is_json() => serde_json::to_string(&graph_of(&definition))?,
        GraphFormat::Text => draw::text(&definition),
        GraphFormat::Mermaid => draw::mermaid(&definition),
    };
    print_line(&drawing)?;
    Ok(ExitCode::SUCCESS)
}

fn graph_of(definition: &Definition) -> Graph<'_> {
    let plan = Plan::of(definition);
    let nodes = definition.steps.iter().zip(&plan.steps);
    let edges = definition.steps.iter().flat_map(|step| {
        step.needs.iter().map(|edge| GraphEdge {
            from: &edge.step,
            to: &step.name,
            on_failure: edge.on_failure.as_str(),
        })
    });
    Graph {
        nodes: nodes
            .map(|(step, planned)| Node {
                name: &step.name,
                level: planned.level,
            })
            .collect(),
        edges: edges.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_counts() {
        assert_eq!(summary(1, 0, 2), "1 file: 0 errors, 2 warnings");
        assert_eq!(summary(3, 1, 1), "3 files: 1 error, 1 warning");
    }

    #[test]
    fn a_graph_as_json_has_nodes_with_levels_and_edges_with_their_policies() {
        let text = "name: x\nsteps:\n  - {name: a, run: echo}\n  - {name: b, run: echo, needs: [a]}\n";
        let (definition, _) = definition_file::check("x", text, &[]);
        let graph = serde_json::to_string(&graph_of(&definition.expect("valid"))).expect("JSON");
        assert_eq!(
            graph,
            r#"{"nodes":[{"name":"a","level":0},{"name":"b","level":1}],"edges":[{"from":"a","to":"b","on_failure":"fail"}]}"#
        );
    }
}
