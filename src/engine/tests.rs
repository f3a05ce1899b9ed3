//! A generation on a paused clock, and for any text: its output follows a simple model of the rules, whole or streamed,
//! for whole and live replies.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use proptest::prelude::*;
use tokio::time::Instant;

use super::tokens::Tokens;
use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// A request of one message.
fn request(text: &str) -> GenerationRequest {
    let message = Message::new(Role::User, Some(Content::Text(text.into())));
    GenerationRequest { n: 1, prompt: Prompt::Chat(vec![message]), ..GenerationRequest::default() }
}

async fn paced(text: &str, pacing: Pacing, change: impl FnOnce(&mut GenerationRequest)) -> Generation {
    let mut request = request(text);
    change(&mut request);
    begin(&EchoEngine::new(""), request, pacing).await
}

async fn begin(engine: &dyn Engine, request: GenerationRequest, pacing: Pacing) -> Generation {
    let (request, schedule) = (Arc::new(request), Schedule::new(pacing, Instant::now()));
    let budget = Budget { tokens: 10_000, bytes: 1 << 20 };
    Generation::begin(engine, &request, schedule, budget).await.expect("within budget")
}

/// The events, each with its seconds since the start.
async fn timeline(mut generation: Generation) -> Vec<(u64, &'static str)> {
    let start = Instant::now();
    let mut timeline = Vec::new();
    while let Some(event) = generation.next().await {
        let what = match event.expect("no failure") {
            Event::Started => "started",
            Event::Opened { .. } => "opened",
            Event::Delta { .. } => "delta",
            Event::Finished { .. } => "finished",
            Event::Usage(_) => "usage",
        };
        timeline.push((start.elapsed().as_secs(), what));
    }
    timeline
}

#[tokio::test(start_paused = true)]
async fn the_first_token_waits_for_ttft_and_the_rest_for_itl() {
    let generation = paced("one two three", Pacing { ttft: 2 * SECOND, itl: SECOND }, |_| {}).await;

    assert_eq!(
        timeline(generation).await,
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
    let generation = paced("one two", Pacing { ttft: SECOND, itl: SECOND }, |request| request.n = 3).await;

    let deltas: Vec<_> =
        timeline(generation).await.into_iter().filter(|(_, what)| *what == "delta").collect();

    assert_eq!(deltas.iter().map(|(second, _)| *second).collect::<Vec<_>>(), [1, 1, 1, 2, 2, 2]);
}

#[tokio::test(start_paused = true)]
async fn without_tokens_everything_leaves_at_ttft() {
    let generation =
        paced("one", Pacing { ttft: SECOND, itl: SECOND }, |request| request.max_tokens = Some(0)).await;

    assert_eq!(timeline(generation).await, [(0, "started"), (1, "opened"), (1, "finished"), (1, "usage")]);
}

#[tokio::test(start_paused = true)]
async fn a_late_token_does_not_push_those_behind_it() {
    let mut generation = paced("one two three four", Pacing { ttft: SECOND, itl: SECOND }, |_| {}).await;
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
    let generation = paced("one two three", Pacing { ttft: SECOND, itl: SECOND }, |request| {
        request.stop = vec![" two four".into()];
    })
    .await;

    let deltas: Vec<_> =
        timeline(generation).await.into_iter().filter(|(_, what)| *what == "delta").collect();

    assert_eq!(deltas.iter().map(|(second, _)| *second).collect::<Vec<_>>(), [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn the_unary_answer_waits_as_long_as_the_stream_would_have_lasted() {
    let generation = paced("one two three", Pacing { ttft: SECOND, itl: SECOND }, |_| {}).await;
    let start = Instant::now();

    Completion::collect(generation).await.expect("an answer");

    assert_eq!(start.elapsed(), 3 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn zero_is_no_delay_at_all() {
    let generation = paced(&"word ".repeat(500), Pacing::default(), |_| {}).await;
    let start = Instant::now();

    Completion::collect(generation).await.expect("an answer");

    assert_eq!(start.elapsed(), Duration::ZERO);
}

/// Replies with a text, whole or piece by piece with pauses in between.
struct Fixed {
    text: String,
    in_pieces: bool,
}

impl Engine for Fixed {
    fn generate(&self, request: &Arc<GenerationRequest>) -> Result<Replies, ApiError> {
        if !self.in_pieces {
            return Ok(Replies::Same(vec![Segment::Text(self.text.clone().into())]));
        }
        let reply = |_| {
            let tokens: Vec<_> = Tokens::of(self.text.clone().into()).collect();
            Reply::live(futures_util::stream::iter(tokens).then(|token| async {
                tokio::task::yield_now().await;
                Ok(token)
            }))
        };
        Ok(Replies::Each((0..request.choices()).map(reply).collect()))
    }
}

/// A simple model of the rules: tokens up to the limit, cut before the stop sequence that ends first.
fn expected(text: &str, limit: Option<usize>, stops: &[String]) -> (String, FinishReason, u32) {
    let tokens: Vec<_> = Tokens::of(text.into()).collect();
    let kept = tokens.len().min(limit.unwrap_or(usize::MAX));
    let whole: String = tokens[..kept].iter().map(|token| &**token).collect();
    let ends = (0..)
        .zip(stops)
        .filter_map(|(index, stop)| whole.find(stop.as_str()).map(|at| (at + stop.len(), at, index)));
    let (text, reason) = match ends.min() {
        Some((_, at, index)) => (whole[..at].to_owned(), FinishReason::Stop { sequence: Some(index) }),
        None if kept < tokens.len() => (whole, FinishReason::Length { by: Limit::Request }),
        None => (whole, FinishReason::Stop { sequence: None }),
    };
    let mut sent = 0;
    let count = tokens.iter().take_while(|token| {
        let begins_before_the_cut = sent < text.len();
        sent += token.len();
        begins_before_the_cut
    });
    let count = u32::try_from(count.count()).expect("small");
    (text, reason, count)
}

async fn fixed(text: &str, in_pieces: bool, n: usize, limit: Option<usize>, stops: &[String]) -> Generation {
    let request = GenerationRequest { n, max_tokens: limit, stop: stops.to_vec(), ..request("x") };
    begin(&Fixed { text: text.into(), in_pieces }, request, Pacing::default()).await
}

proptest! {
    #[test]
    fn stop_limits_and_n_agree_between_stream_and_unary_for_any_text(
        text in "[ab ,日]{0,40}|\\PC{0,40}",
        limit in proptest::option::of(0_usize..20),
        stops in proptest::collection::vec("[ab ,日]{1,4}", 0..4),
        n in 1_usize..4,
        in_pieces: bool,
    ) {
        let (wanted, reason, tokens) = expected(&text, limit, &stops);
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");

        let whole = runtime.block_on(async {
            Completion::collect(fixed(&text, in_pieces, n, limit, &stops).await).await
        });
        let whole = whole.expect("no failure");
        let events: Vec<_> =
            runtime.block_on(async { fixed(&text, false, n, limit, &stops).await.collect().await });

        prop_assert_eq!(whole.choices.len(), n);
        for choice in &whole.choices {
            prop_assert_eq!(&choice.text, &wanted);
            prop_assert_eq!(choice.finish_reason, reason);
        }
        prop_assert_eq!(whole.usage.completion_tokens, tokens * u32::try_from(n).expect("small"));
        let mut streamed = vec![String::new(); n];
        for event in events {
            match event.expect("no failure") {
                Event::Delta { choice, run, .. } => {
                    prop_assert!(!run.delta.text().is_empty());
                    prop_assert_eq!(run.texts().count(), run.tokens as usize);
                    streamed[choice].push_str(run.delta.text());
                }
                Event::Finished { reason: ended, .. } => prop_assert_eq!(ended, reason),
                Event::Usage(usage) => prop_assert_eq!(usage, whole.usage),
                Event::Started | Event::Opened { .. } => {}
            }
        }
        prop_assert!(streamed.iter().all(|text| *text == wanted));
    }
}

#[tokio::test]
async fn each_prompt_is_answered_by_n_choices_in_order() {
    for (prompt, replies) in [
        (Prompt::Text(vec!["one two".into(), "three".into()]), ["one two", "one two", "three", "three"]),
        (Prompt::Ids(vec![vec![7, 8], vec![9]]), ["7 8", "7 8", "9", "9"]),
    ] {
        let request = GenerationRequest { prompt, n: 2, ..GenerationRequest::default() };

        let completion =
            Completion::collect(begin(&EchoEngine::new(""), request, Pacing::default()).await).await;

        let completion = completion.expect("an echo does not fail");
        let texts: Vec<_> = completion.choices.iter().map(|choice| choice.text.as_str()).collect();
        assert_eq!(texts, replies);
        assert_eq!(completion.usage.prompt_tokens, 3);
    }
}
