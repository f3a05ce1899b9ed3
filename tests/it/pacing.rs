//! Pacing: on a paused clock in process, and on a real socket without the 40 ms of Nagle's algorithm.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use serde_json::json;
use tokenecho::api::chat::{ChatRequest, StopSequences};
use tokenecho::api::{ApiRequest, Validation};
use tokenecho::engine::{
    Budget, Completion, Content, EchoEngine, Event, Generation, Message, Pacing, Role, Schedule,
};
use tokio::time::Instant;

use crate::support::http::{chat, say, with};
use crate::support::{bare_echo, start};

const SECOND: Duration = Duration::from_secs(1);

async fn generation(text: &str, pacing: Pacing, change: impl FnOnce(&mut ChatRequest)) -> Generation {
    let mut parameters = ChatRequest {
        messages: vec![Message::new(Role::User, Some(Content::Text(text.into())))],
        ..ChatRequest::default()
    };
    change(&mut parameters);
    let request = Arc::new(parameters.check("mock", Validation::Lenient).expect("a good request"));
    let schedule = Schedule::new(pacing, Instant::now());
    Generation::begin(&EchoEngine::new(""), &request, schedule, Budget { tokens: 1000, bytes: 1 << 20 })
        .await
        .expect("within budget")
}

/// What is told, and how many seconds after the start.
async fn told(mut generation: Generation) -> Vec<(u64, &'static str)> {
    let start = Instant::now();
    let mut told = Vec::new();
    while let Some(event) = generation.next().await {
        let what = match event.expect("no failure") {
            Event::Started => "started",
            Event::Opened { .. } => "opened",
            Event::Delta { .. } => "delta",
            Event::Finished { .. } => "finished",
            Event::Usage(_) => "usage",
        };
        told.push((start.elapsed().as_secs(), what));
    }
    told
}

#[tokio::test(start_paused = true)]
async fn the_first_token_waits_for_ttft_and_the_rest_for_itl() {
    let generation = generation("one two three", Pacing { ttft: 2 * SECOND, itl: SECOND }, |_| {}).await;

    assert_eq!(
        told(generation).await,
        [
            (0, "started"),
            (2, "opened"),
            (2, "delta"),
            (3, "delta"),
            (4, "delta"),
            (4, "finished"),
            (4, "usage")
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn choices_share_their_deadlines() {
    let generation =
        generation("one two", Pacing { ttft: SECOND, itl: SECOND }, |parameters| parameters.n = Some(3))
            .await;

    let deltas: Vec<_> = told(generation).await.into_iter().filter(|(_, what)| *what == "delta").collect();

    assert_eq!(deltas.iter().map(|(second, _)| *second).collect::<Vec<_>>(), [1, 1, 1, 2, 2, 2]);
}

#[tokio::test(start_paused = true)]
async fn without_tokens_everything_leaves_at_ttft() {
    let generation =
        generation("one", Pacing { ttft: SECOND, itl: SECOND }, |parameters| parameters.max_tokens = Some(0))
            .await;

    assert_eq!(told(generation).await, [(0, "started"), (1, "opened"), (1, "finished"), (1, "usage")]);
}

#[tokio::test(start_paused = true)]
async fn a_late_token_does_not_push_those_behind_it() {
    let mut generation = generation("one two three four", Pacing { ttft: SECOND, itl: SECOND }, |_| {}).await;
    let start = Instant::now();

    let mut arrivals = Vec::new();
    while let Some(event) = generation.next().await {
        if let Event::Delta { .. } = event.expect("no failure") {
            arrivals.push(start.elapsed().as_millis());
            if arrivals.len() == 1 {
                tokio::time::sleep(Duration::from_millis(1500)).await;
            }
        }
    }

    assert_eq!(arrivals, [1000, 2500, 3000, 4000]);
}

#[tokio::test(start_paused = true)]
async fn a_stop_sequence_makes_no_token_late() {
    let generation = generation("one two three", Pacing { ttft: SECOND, itl: SECOND }, |parameters| {
        parameters.stop = StopSequences(vec![" two four".into()]);
    })
    .await;

    let deltas: Vec<_> = told(generation).await.into_iter().filter(|(_, what)| *what == "delta").collect();

    assert_eq!(deltas.iter().map(|(second, _)| *second).collect::<Vec<_>>(), [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn the_unary_answer_waits_as_long_as_the_stream_would_have_lasted() {
    let generation = generation("one two three", Pacing { ttft: SECOND, itl: SECOND }, |_| {}).await;
    let start = Instant::now();

    Completion::collect(generation).await.expect("an answer");

    assert_eq!(start.elapsed(), 3 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn zero_is_no_delay_at_all() {
    let generation = generation(&"word ".repeat(500), Pacing::default(), |_| {}).await;
    let start = Instant::now();

    Completion::collect(generation).await.expect("an answer");

    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test]
async fn the_head_leaves_at_once_and_the_role_with_the_first_token() {
    let server = start(bare_echo().pacing(Duration::from_millis(300), Duration::ZERO)).await;
    let begun = Instant::now();

    let response = chat(&server, &with(say("Hi"), &json!({"stream": true}))).await;
    let head = begun.elapsed();
    let body = response.text().await.expect("a body");

    assert!(head < Duration::from_millis(200), "{head:?}");
    assert!(begun.elapsed() >= Duration::from_millis(300));
    assert!(body.starts_with("data: ") && body.contains("\"role\":\"assistant\""));
}

/// Without TCP_NODELAY each token waits for the acknowledgement of the one before, 40 ms: 20 tokens at 2 ms would
/// take most of a second.
#[tokio::test]
async fn tokens_are_not_held_back_by_nagles_algorithm() {
    let server = start(bare_echo().pacing(Duration::from_millis(2), Duration::from_millis(2))).await;
    let request = with(say("word"), &json!({"stream": true, "max_tokens": 20, "ignore_eos": true}));
    let mut best = Duration::MAX;

    for _ in 0..5 {
        let begun = Instant::now();
        chat(&server, &request).await.text().await.expect("a body");
        best = best.min(begun.elapsed());
    }

    assert!(best < Duration::from_millis(400), "{best:?}");
}
