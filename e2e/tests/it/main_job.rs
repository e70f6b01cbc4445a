//! The main path: a task is submitted, waits in its list, runs, and its result can be read.

use serde_json::{Value, json};
use sqlx::PgPool;

use crate::harness::{BUILT_IN, Idle, SOON, Small, echo, id_of};

#[sqlx::test(migrations = false)]
async fn a_submitted_task_runs_and_its_result_can_be_read(db: PgPool) {
    let small = Small::start(&db).await;
    let server = &small.server;
    let body = json!({"task_name": "example_long_running", "parameters": {"duration": 1, "message": "hi"}});
    let request = server
        .http
        .post(format!("{}/tasks/submit", server.url))
        .json(&body);
    let answer = request.send().await.expect("an answer");
    assert_eq!(answer.status(), 202);
    let location = answer.headers()["location"].to_str().expect("text").to_owned();
    let submitted: Value = answer.json().await.expect("JSON");
    let id = id_of(&submitted);
    assert_eq!(location, format!("/tasks/{id}"));
    assert_eq!(submitted["status"], "pending");
    assert_eq!(submitted["queue"], "default");
    assert_eq!(submitted["deduplicated"], false);

    let (status, task) = server.get(&format!("{location}?wait=30")).await;
    assert_eq!(
        (status.as_u16(), &task["status"]),
        (200, &json!("completed")),
        "{task}"
    );
    let (status, result) = server.get(&format!("{location}/result")).await;
    assert_eq!(status, 200);
    assert_eq!(result["result"]["message"], "hi");
    assert_eq!(result["result"]["status"], "completed");
    let (_, state) = server.get(&format!("{location}/status")).await;
    assert_eq!(state["attempts"], 1);
    let (_, history) = server.get(&format!("{location}/history")).await;
    let states: Vec<&Value> = history["events"]
        .as_array()
        .expect("events")
        .iter()
        .map(|event| &event["to"])
        .collect();
    assert_eq!(states, ["pending", "running", "completed"]);
}

#[sqlx::test(migrations = false)]
async fn what_waits_is_the_length_of_its_list_until_a_worker_comes(db: PgPool) {
    let idle = Idle::start(&db).await;
    let mut ids = Vec::new();
    for number in 0..3 {
        let mut task = echo(number);
        task["priority"] = json!(10);
        ids.push(idle.server.submit(&task).await);
    }
    assert_eq!(idle.system.queue().llen("high_priority"), 3);
    let (_, answer) = idle.server.get("/queues").await;
    let queues = answer["queues"].as_array().expect("queues");
    let high = queues
        .iter()
        .find(|queue| queue["name"] == "high_priority")
        .expect("the queue");
    assert_eq!((&high["depth"], &high["pending"]), (&json!(3), &json!(3)));
    let (status, problem) = idle.server.get(&format!("/tasks/{}/result", ids[0])).await;
    assert_eq!((status.as_u16(), &problem["code"]), (409, &json!("not_finished")));

    let _worker = idle.system.worker(&[("TASK_QUEUES", "high_priority")]).await;
    for id in &ids {
        idle.server.wait_for(id, "completed", SOON).await;
    }
    assert_eq!(idle.system.queue().llen("high_priority"), 0);
}

#[sqlx::test(migrations = false)]
async fn the_built_in_types_are_listed_with_their_schemas(db: PgPool) {
    let small = Small::start(&db).await;
    // the response may be as old as the cache behind it
    tasker_testkit::eventually("six types are known", SOON, async || {
        let (_, answer) = small.server.get("/tasks/types").await;
        answer["types"]
            .as_array()
            .is_some_and(|types| types.len() == BUILT_IN.len())
    })
    .await;
    let (_, answer) = small.server.get("/tasks/types").await;
    let types = answer["types"].as_array().expect("types");
    let mut names: Vec<&str> = types.iter().filter_map(|kind| kind["name"].as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, BUILT_IN);
    for kind in types {
        assert_eq!(kind["parameters_schema"]["type"], "object", "{kind}");
        assert_eq!(kind["workers"], 1, "{kind}");
    }
    let (status, problem) = small
        .server
        .post("/tasks/submit", &json!({"task_name": "nobody_knows"}))
        .await;
    assert_eq!(
        (status.as_u16(), &problem["code"]),
        (422, &json!("unknown_task_type"))
    );
    let text = problem.to_string();
    assert!(BUILT_IN.iter().all(|name| text.contains(name)), "{text}");
}
