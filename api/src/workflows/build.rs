//! Makes the rows of a workflow from its definition. Pure.

use std::time::Duration;

use serde_json::value::RawValue;
use tasker_core::similar_names::nearest_first;
use tasker_core::task::{QueueName, TaskId};
use tasker_store::insert::NewKey;
use tasker_store::workflow_start::{Deadline, NewJoin, NewStep, NewWorkflow};
use tasker_workflow::plan::{Plan, PlanIds};
use tasker_workflow::{Definition, FailureReaction, Step};

use super::fingerprint::fingerprint;
use super::request::StartRequest;
use crate::schema::ParametersSchema;
use crate::submit::validate::Rules;
use crate::types::KnownType;
use crate::validation_error::{ValidationError, ValidationErrorKind};
use tasker_core::task::priority::undeclared;

/// Returns the workflow of `request` by `definition`, or all of its validation errors. `environment` selects
/// the changes of the definition; `max_age` is the deadline of a workflow that sets none.
pub(super) fn build(
    request: &StartRequest,
    definition: &Definition,
    environment: &str,
    max_age: Duration,
    rules: Rules<'_>,
) -> Result<NewWorkflow, Vec<ValidationError>> {
    let definition = definition.for_environment(environment);
    let mut errors = context_errors(request, &definition);
    let types = known_types(&definition, rules, &mut errors);
    let queues = queues(request, &definition, &types, rules, &mut errors);
    if !errors.is_empty() {
        return Err(errors);
    }
    let plan = Plan::of(&definition);
    let id = TaskId::generate();
    let ids = PlanIds::assign(&plan, id.0, || TaskId::generate().0);
    let deadline = request.deadline.or_else(|| {
        let deadline = definition.deadline?;
        Some(Deadline::InSeconds(deadline.as_secs_f64()))
    });
    let mut workflow = NewWorkflow {
        id,
        namespace: definition.namespace.clone(),
        name: definition.name.clone(),
        version: definition.version.to_string(),
        definition_hash: definition.hash().0,
        definition: definition.to_json(),
        context: request.context.clone(),
        priority: request.priority.or(definition.priority).unwrap_or_default(),
        tags: request.tags.clone(),
        correlation_id: request.correlation_id.clone().unwrap_or_else(|| id.to_string()),
        traceparent: request.traceparent.clone(),
        key: None,
        gives_up: definition.on_failure == FailureReaction::Error,
        deadline: deadline.unwrap_or(Deadline::InSeconds(max_age.as_secs_f64())),
        steps: steps(&definition, &plan, &ids, &types, queues),
        joins: joins(&plan, &ids),
    };
    if let Some(key) = &request.key {
        // last, because it covers the values after defaults and aliases
        let fingerprint = fingerprint(&workflow, deadline);
        workflow.key = Some(NewKey {
            key: key.clone(),
            fingerprint,
        });
    }
    Ok(workflow)
}

/// Returns the rows of the steps; `types` and `queues` are those of each step.
fn steps(
    definition: &Definition,
    plan: &Plan,
    ids: &PlanIds,
    types: &[&KnownType],
    queues: Vec<(i16, QueueName)>,
) -> Vec<NewStep> {
    let rows = plan.step_rows(ids);
    let each = definition.steps.iter().zip(types).zip(queues).enumerate();
    each.map(|(index, ((step, known), (priority, queue)))| NewStep {
        id: TaskId(rows.ids[index]),
        name: step.name.clone(),
        task_name: step.run.clone(),
        queue,
        priority,
        parameters: literal(step).unwrap_or_else(|| "{}".to_owned()),
        max_attempts: i32::try_from(step.retry.attempts()).unwrap_or(1),
        timeout_seconds: timeout(step, known),
        waits: !rows.ready[index],
        targets: rows.targets[index].clone(),
        kinds: rows.kinds[index].clone(),
        options: Some(step.to_json()),
    })
    .collect()
}

fn joins(plan: &Plan, ids: &PlanIds) -> Vec<NewJoin> {
    let rows = plan.join_rows(ids);
    let edges = rows.targets.into_iter().zip(rows.kinds);
    let joins = rows.ids.into_iter().zip(rows.sizes).zip(edges);
    joins
        .map(|((id, size), (targets, kinds))| NewJoin {
            id: TaskId(id),
            size,
            targets,
            kinds,
        })
        .collect()
}

/// Returns the parameters of a step whose inputs are all literals.
fn literal(step: &Step) -> Option<String> {
    let reads = tasker_workflow::resolve::reads_context(step)
        || !tasker_workflow::resolve::steps_read(step).is_empty();
    let resolve = || tasker_workflow::resolve::parameters(step, "{}", |_| None).ok();
    (!reads).then(resolve).flatten()
}

fn timeout(step: &Step, known: &KnownType) -> f64 {
    step.timeout
        .map_or(known.published.timeout_seconds, |timeout| timeout.as_secs_f64())
}

fn context_errors(request: &StartRequest, definition: &Definition) -> Vec<ValidationError> {
    let Some(schema) = &definition.input_schema else {
        return Vec::new();
    };
    let schema = ParametersSchema::compile(&definition.name, Some(&schema.to_text()));
    let context = serde_json::from_str::<&RawValue>(&request.context);
    let errors = context.map(|context| schema.validate(context, "/context"));
    match errors {
        Ok(Ok(errors)) => errors,
        _ => vec![ValidationError::invalid("/context", "cannot be read")],
    }
}

/// Returns the task type of each step; an error for each that is not registered.
fn known_types<'t>(
    definition: &Definition,
    rules: Rules<'t>,
    errors: &mut Vec<ValidationError>,
) -> Vec<&'t KnownType> {
    let mut known = Vec::new();
    for (index, step) in definition.steps.iter().enumerate() {
        if let Some(found) = rules.types.get(&step.run) {
            errors.extend(stored_secrets(step, index, found));
            known.push(found.as_ref());
            continue;
        }
        let names = nearest_first(&step.run, &rules.types.names());
        let nearest: Vec<&str> = names.into_iter().take(5).collect();
        errors.push(ValidationError::new(
            ValidationErrorKind::UnknownTaskType,
            format!("/steps/{index}/run"),
            format!(
                "`{}` is not a registered task type; the nearest registered ones: {}",
                step.run,
                nearest.join(", ")
            ),
        ));
    }
    known
}

/// Returns an error for each input that must not be stored: definitions and contexts are.
fn stored_secrets(step: &Step, index: usize, known: &KnownType) -> Vec<ValidationError> {
    let names = step.inputs.iter().flat_map(|inputs| inputs.keys());
    let secret = names.filter(|name| known.write_only.contains(name));
    secret
        .map(|name| {
            ValidationError::invalid(
                format!("/steps/{index}/with/{}", tasker_core::json::escaped(name)),
                "is a parameter that is never stored, and the definition of a workflow is; give it to the worker's configuration",
            )
        })
        .collect()
}

/// Returns the priority and the queue of each step; an error for each queue that is not declared.
fn queues(
    request: &StartRequest,
    definition: &Definition,
    types: &[&KnownType],
    rules: Rules<'_>,
    errors: &mut Vec<ValidationError>,
) -> Vec<(i16, QueueName)> {
    let declared = |queue: &QueueName| rules.queues.contains(queue);
    let mut queues = Vec::new();
    for (index, step) in definition.steps.iter().enumerate() {
        let given = definition.priority_of(step, request.priority);
        let published = types.get(index).map(|known| &known.published);
        let priority = given.or(published.map(|of| of.priority)).unwrap_or_default();
        let queue = definition.queue_of(step, priority, declared);
        if !declared(&queue) {
            let names = rules.queues.iter().map(QueueName::as_str);
            errors.push(ValidationError::new(
                ValidationErrorKind::UnknownQueue,
                format!("/steps/{index}/queue"),
                undeclared(names),
            ));
        }
        queues.push((priority, queue));
    }
    queues
}
